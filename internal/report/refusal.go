package report

import (
	"net/url"
	"strings"
)

// Refusal puts Akamai's reason for refusing an object into words that need no knowledge
// of Akamai. Other reasons stay as they are. Akamai's own words are on the purge's page.
//
// Source: https://techdocs.akamai.com/purge-cache/reference/403, whose detail names one
// object.
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
		return mayNot + object // an ARL has no host at a fixed place
	case "unauthorized cpcode":
		return mayNot + "CP code " + object
	case "unauthorized tag":
		return mayNot + "tag " + object
	}
	if strings.HasPrefix(title, "not tried") { // what follows is the reason of an object that was tried
		return title + ": " + Refusal(object)
	}
	return reason
}
