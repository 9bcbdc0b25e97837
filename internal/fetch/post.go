package fetch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// maxAnswer is how many bytes of the answer to a POST are read, so that its connection
// can be used again. None of them are kept.
const maxAnswer = 64 << 10

// Posted is the answer to a POST.
type Posted struct {
	Status int
	After  time.Duration // when the server wants to be asked again, an hour at most; 0: it does not say
}

// Post posts to an address that an operator named. It follows no redirect, and it does
// not wait for the host's pace. The address is judged like every other. Apart from its
// host, no error names the address: it may be a secret. An answer of any status is no
// error. header must not be nil.
func (f *Fetcher) Post(ctx context.Context, address string, header http.Header, body []byte) (Posted, error) {
	u, err := f.permit(address, nil)
	if err != nil {
		return Posted{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return Posted{}, errors.New("not a URL")
	}
	req.Header = header.Clone()
	req.Header.Set("User-Agent", f.cfg.Agent)
	resp, err := f.transport("").RoundTrip(req)
	if err != nil {
		return Posted{}, errors.New(faultWords(err))
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer) // only its header is used
	answer := Posted{Status: resp.StatusCode}
	// The other form of Retry-After, a date, is not read.
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		answer.After = time.Duration(min(seconds, 3600)) * time.Second // an hour at most
	}
	return answer, nil
}
