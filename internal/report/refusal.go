package report

import (
	"net/url"
	"strings"
)

// Refusal puts what Akamai says of an object that it refuses into words that
// need no knowledge of Akamai; other reasons stay as they are. Akamai's own
// words are on the purge's page.
//
// Source: https://techdocs.akamai.com/purge-cache/reference/403, whose detail
// names one object.
func Refusal(reason string) string {
	title, object, _ := strings.Cut(reason, ": ")
	const mayNot = "Akamai doesn't let purgebot purge "
	if object == "" {
		return reason
	}
	switch strings.ToLower(title) {
	case "unauthorized arl":
		if u, err := url.Parse(object); err == nil && u.Host != "" {
			return mayNot + u.Host
		}
		return mayNot + object // an ARL, which has no host at a known place
	case "unauthorized cpcode":
		return mayNot + "CP code " + object
	case "unauthorized tag":
		return mayNot + "tag " + object
	}
	if strings.HasPrefix(title, "not tried") { // and then the reason of one that was
		return title + ": " + Refusal(object)
	}
	return reason
}
