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

// maxAnswer is how much of the answer to a POST is read, so that its connection
// serves once more; nothing of it is kept.
const maxAnswer = 64 << 10

// Posted is the answer to a POST.
type Posted struct {
	Status int
	After  time.Duration // in how long the server wants to be asked again; 0: it does not say
}

// Post posts to an address that an operator named, and follows no redirect. Its
// address is judged as every other. No error names the address but for its
// host: it may be a secret.
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
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer) // what it says is said in its head
	answer := Posted{Status: resp.StatusCode}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		answer.After = min(time.Duration(seconds)*time.Second, time.Hour)
	}
	return answer, nil
}
