package akamai

import (
	"crypto/rand"
	"net"
	"net/http"
	"strings"
	"time"
)

// Akamai answers errors in two shapes. The purge service's own has httpStatus. The
// gateway in front of it has status instead. Clients tell them apart by these fields.
// https://techdocs.akamai.com/purge-cache/reference/api-errors

// ccuProblemBody is the shape of the purge service's errors.
type ccuProblemBody struct {
	SupportID   string `json:"supportId"`
	Title       string `json:"title"`
	HTTPStatus  int    `json:"httpStatus"`
	Detail      string `json:"detail"`
	DescribedBy string `json:"describedBy"`

	// Only a 429 has these three.
	RateLimit                   *int `json:"rateLimit,omitempty"`
	RateLimitCurrentRequestSize *int `json:"rateLimitCurrentRequestSize,omitempty"`
	RateLimitRemaining          *int `json:"rateLimitRemaining,omitempty"`
}

// ccuProblem is an error of the purge service.
func ccuProblem(status int, title, detail string) answer {
	return answer{
		status: status,
		media:  "application/api-problem+json",
		body: ccuProblemBody{
			SupportID:   "17PY-" + rand.Text(),
			Title:       title,
			HTTPStatus:  status,
			Detail:      detail,
			DescribedBy: "https://api.ccu.akamai.com/ccu/v2/errors/" + strings.ReplaceAll(strings.ToLower(title), " ", "-"),
		},
		refusal: strings.TrimSuffix(title+": "+detail, ": "),
	}
}

// gatewayProblemBody is the shape of the EdgeGrid gateway's errors.
type gatewayProblemBody struct {
	Type        string `json:"type"`
	Title       string `json:"title"`
	Status      int    `json:"status"`
	Detail      string `json:"detail"`
	Instance    string `json:"instance"`
	Method      string `json:"method"`
	ServerIP    string `json:"serverIp"`
	ClientIP    string `json:"clientIp"`
	RequestID   string `json:"requestId"`
	RequestTime string `json:"requestTime"`
}

// gatewayProblem is an error of the EdgeGrid gateway: the request did not reach a purge
// service.
func gatewayProblem(c call, status int, problem, title, detail string) answer {
	client, _, err := net.SplitHostPort(c.RemoteAddr)
	if err != nil {
		client = c.RemoteAddr
	}
	return answer{
		status: status,
		media:  "application/problem+json",
		body: gatewayProblemBody{
			Type:        "https://problems.purge.akamaiapis.net/-/" + problem,
			Title:       title,
			Status:      status,
			Detail:      detail,
			Instance:    "https://" + c.Host + c.URL.EscapedPath(),
			Method:      c.Method,
			ServerIP:    "127.0.0.1",
			ClientIP:    client,
			RequestID:   strings.ToLower(rand.Text()[:8]),
			RequestTime: c.now.UTC().Format(time.RFC3339),
		},
		refusal: title + ": " + detail,
	}
}

// badRequest is the answer to a fault in the Authorization header itself.
func badRequest(c call, detail string) answer {
	return gatewayProblem(c, http.StatusBadRequest, "pep-authn/request-error", "Bad request", detail)
}

func unauthorized(c call, detail string) answer {
	return gatewayProblem(c, http.StatusUnauthorized, "pep-authn/deny", "Not authorized", detail)
}

// deny is the answer to a known client that has no grant for this API, or none for the
// account that it names.
func deny(c call) answer {
	return gatewayProblem(c, http.StatusForbidden, "pep-authz/deny", "Forbidden",
		"The client does not have the grant needed for the request")
}

// notFound is the answer for a path that none of the client's APIs serves. Akamai's own
// words for that are not documented.
func notFound(c call) answer {
	return gatewayProblem(c, http.StatusNotFound, "resource-impl/not-found", "Not Found", "No such operation")
}
