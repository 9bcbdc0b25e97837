// Package purger speaks to Akamai's purge APIs. It packs objects into
// requests, keeps inside the account's budget, signs with EdgeGrid, and turns
// every reply, whatever it looks like, into one [Answer].
//
// Two APIs are here behind the small interface [API]: Fast Purge, also called
// CCU v3 ([Client]), and the legacy CCU v2 ([V2]). [Sender] drives either
// through a list of any length; a program that keeps its own queue uses
// [Packer], [Budget] and Client.Send directly.
//
// Figures and behaviour are from Akamai's reference unless a comment says
// otherwise: https://techdocs.akamai.com/purge-cache/reference/api.
package purger

import (
	"context"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/purgebot/purgebot/internal/object"
)

// Kind is what an object is: a URL, a tag or a CP code. CCU v2 knows no tags.
type Kind = object.Kind

// Network is where Akamai purges.
type Network = object.Network

// Action is what Akamai does with the cached copies.
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

// MaxBody is how many bytes the body of a request may have. Akamai refuses
// more with 413.
const MaxBody = 50_000

// Request is one request to Akamai: objects of one kind, for one network and
// action. Akamai accepts all of it or nothing.
type Request struct {
	Kind    Kind
	Network Network
	Action  Action
	Objects []string // CP codes in decimal
}

// API is what both of Akamai's purge APIs can do.
type API interface {
	// Send makes one attempt. It never panics and never retries; every reply,
	// and the lack of one, is an Answer.
	Send(ctx context.Context, r Request) Answer
	// Wait blocks until the accepted purge is done, as far as the API can
	// tell, and returns early only with ctx or when that can't be known.
	Wait(ctx context.Context, r Receipt) error
	// MaxObjects is how many objects of a kind one request may hold, next to
	// the limit of MaxBody. 0: the API has no such kind.
	MaxObjects(k Kind) int
}

// Body encodes the request as Fast Purge wants it, {"objects":[…]}: no HTML
// escaping, so that the size is what Akamai counts, and CP codes as integers.
// The error is an [*ObjectError] if one object can't be sent at all, and
// otherwise says that the whole is longer than MaxBody.
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

// appendObjects writes the list as both APIs take it: CP codes as numbers, all else as
// texts.
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

// ObjectError says why an object can't be sent as it is written.
type ObjectError struct {
	Kind   Kind
	Object string
	Reason string // for people, without the object
}

func (e *ObjectError) Error() string {
	object := e.Object
	if len(object) > 200 {
		object = clean(object, 200)
	}
	return fmt.Sprintf("%s %q %s", e.Kind, object, e.Reason)
}

// Check says whether an object can be sent at all, so that planning can
// refuse it: nil, or an [*ObjectError]. What only Akamai can know (its hosts,
// a CP code's owner) is not checked.
func Check(k Kind, object string) error {
	if reason := unsendable(k, object); reason != "" {
		return &ObjectError{Kind: k, Object: object, Reason: reason}
	}
	return nil
}

// unsendable is Check in words. That a URL is well formed is not asked: rules,
// comments and the command line write it as a browser does, and Akamai knows best.
func unsendable(k Kind, named string) string {
	switch {
	case named == "":
		return "is empty"
	case !utf8.ValidString(named):
		return "is not valid UTF-8; percent-encode it"
	}
	switch k {
	case URL:
		if n := len(objectsOpen) + len(named) + len(objectsClose); 6*n < MaxBody { // escaping makes six bytes of one at most
			return ""
		}
		if n := len(objectsOpen) + encodedLen(named) + len(objectsClose); n > MaxBody {
			return fmt.Sprintf("is too long: alone it makes a request of %d bytes, Akamai takes %d", n, MaxBody)
		}
	case Tag:
		return object.TagFault(named)
	case CPCode:
		if n, err := strconv.ParseUint(named, 10, 63); err != nil || n == 0 || named[0] == '0' || named[0] == '+' {
			return "is not a CP code: write a positive integer, such as 12345"
		}
	default:
		return fmt.Sprintf("has the unknown kind %q", string(k))
	}
	return ""
}
