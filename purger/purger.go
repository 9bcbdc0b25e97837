// Package purger speaks to Akamai's purge APIs. It packs objects into requests, stays
// within the account's budget, signs with EdgeGrid, and turns every reply, whatever it
// looks like, into one [Answer].
//
// Two APIs stand behind the small interface [API]: Fast Purge, also called CCU v3
// ([Client]), and the legacy CCU v2 ([V2]). [Sender] sends a list of any length through
// either of them. A program that keeps its own queue uses [Packer], [Budget], [Decide]
// and Client.Send directly.
//
// Figures and behaviour come from Akamai's reference unless a comment says otherwise:
// https://techdocs.akamai.com/purge-cache/reference/api.
package purger

import (
	"context"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/purgebot/purgebot/internal/object"
)

// Kind says what an object is: a URL, a tag or a CP code. CCU v2 knows no tags.
type Kind = object.Kind

// Network is the Akamai network that a purge is for. Each has its own cache.
type Network = object.Network

// Action says how Akamai treats the cached copies. Invalidate makes the edge ask the
// origin again. Delete drops the copy, so that the origin must send it whole.
// https://techdocs.akamai.com/purge-cache/docs/purge-methods
type Action = object.Action

// The kinds, networks and actions.
const (
	URL        = object.URL
	Tag        = object.Tag
	CPCode     = object.CPCode
	Production = object.Production
	Staging    = object.Staging
	Invalidate = object.Invalidate
	Delete     = object.Delete
)

// MaxBody is the most bytes that the body of a request may have. Akamai refuses a longer
// one with 413.
// https://techdocs.akamai.com/purge-cache/reference/rate-limiting
const MaxBody = 50_000

// Request is one request to Akamai: objects of one kind, for one network and one action.
// Akamai accepts all objects or none: one bad object makes the whole request fail.
// https://techdocs.akamai.com/purge-cache/reference/api-errors
type Request struct {
	Kind    Kind
	Network Network
	Action  Action
	Objects []string // CP codes in decimal
}

// API is the common part of Akamai's two purge APIs. Its methods may be called
// concurrently.
type API interface {
	// Send makes one attempt. It never panics and never retries. Every reply, and the
	// lack of one, is an Answer.
	Send(ctx context.Context, r Request) Answer
	// Wait blocks until the accepted purge is done, as far as the API can tell. It
	// returns early only if ctx ends or if the API cannot tell.
	Wait(ctx context.Context, r Receipt) error
	// MaxObjects is the most objects of a kind in one request, besides the limit of
	// MaxBody. 0 means that the API has no such kind.
	MaxObjects(k Kind) int
}

// Body encodes the request for Fast Purge, {"objects":[…]}. It does not escape HTML, so
// that the size is the one that Akamai counts, and it writes CP codes as integers. The
// error is an [*ObjectError] if one object cannot be sent at all. Otherwise it says that
// the whole body is longer than MaxBody.
func (r Request) Body() ([]byte, error) {
	size := len(objectsOpen) + len(objectsClose)
	for _, object := range r.Objects {
		size += len(object) + len(`"",`)
	}
	body, err := r.appendObjects(append(make([]byte, 0, min(size, MaxBody)), objectsOpen...))
	if err != nil {
		return nil, err
	}
	body = append(body, objectsClose...)
	if len(body) > MaxBody {
		return nil, fmt.Errorf("encode request: %d objects make %d bytes, Akamai takes %d", len(r.Objects), len(body), MaxBody)
	}
	return body, nil
}

// appendObjects writes the list as both APIs read it: CP codes as numbers, everything
// else as strings. [Packer] must count exactly these bytes.
func (r Request) appendObjects(body []byte) ([]byte, error) {
	for i, object := range r.Objects {
		if err := Check(r.Kind, object); err != nil {
			return nil, err
		}
		if i > 0 {
			body = append(body, ',')
		}
		if r.Kind == CPCode {
			body = append(body, object...)
		} else {
			body = appendString(body, object)
		}
	}
	return body, nil
}

// ObjectError says why an object cannot be sent as it is written. Another attempt gives
// the same error.
type ObjectError struct {
	Kind   Kind
	Object string
	Reason string // for people; it continues a sentence and does not repeat the object
}

func (e *ObjectError) Error() string {
	object := e.Object
	if len(object) > 200 {
		object = clean(object, 200)
	}
	return fmt.Sprintf("%s %q %s", e.Kind, object, e.Reason)
}

// Check says whether an object can be sent at all, so that planning can refuse it early.
// It returns nil or an [*ObjectError]. It does not check what only Akamai knows, such as
// which hosts and CP codes belong to the account.
func Check(k Kind, object string) error {
	if reason := unsendable(k, object); reason != "" {
		return &ObjectError{Kind: k, Object: object, Reason: reason}
	}
	return nil
}

// unsendable is Check in words; "" means that the object can be sent. It does not ask
// whether a URL is well formed: rules, comments and the command line write URLs as a
// browser does, and only Akamai knows what it accepts.
func unsendable(k Kind, named string) string {
	switch {
	case named == "":
		return "is empty"
	case !utf8.ValidString(named):
		return "is not valid UTF-8; percent-encode it"
	}
	switch k {
	case URL:
		// This avoids counting escapes for almost every URL: escaping makes at most six
		// bytes of one.
		if n := len(objectsOpen) + len(named) + len(objectsClose); 6*n < MaxBody {
			return ""
		}
		if n := len(objectsOpen) + encodedLen(named) + len(objectsClose); n > MaxBody {
			return fmt.Sprintf("is too long: alone it makes a request of %d bytes, Akamai takes %d", n, MaxBody)
		}
	case Tag:
		return object.TagFault(named)
	case CPCode:
		// A leading zero or a plus sign would not be valid JSON, since CP codes are sent
		// as numbers.
		if n, err := strconv.ParseUint(named, 10, 63); err != nil || n == 0 || named[0] == '0' || named[0] == '+' {
			return "is not a CP code: write a positive integer, such as 12345"
		}
	default:
		return fmt.Sprintf("has the unknown kind %q", string(k))
	}
	return ""
}
