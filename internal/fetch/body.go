package fetch

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"

	"github.com/andybalholm/brotli"

	"github.com/purgebot/purgebot/verify"
)

// traced makes the request note the address of the server in a, as soon as it has a
// connection.
func traced(ctx context.Context, a *verify.Answer) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { a.From = info.Conn.RemoteAddr().String() },
	})
}

// describe takes what the header says into a.
func describe(a *verify.Answer, resp *http.Response) {
	h := resp.Header
	a.Status = resp.StatusCode
	a.ETag, a.LastModified = h.Get("ETag"), h.Get("Last-Modified")
	a.XCache, a.XCacheRemote = h.Get("X-Cache"), h.Get("X-Cache-Remote")
	a.CacheKey, a.Cacheable, a.CacheStatus = h.Get("X-Cache-Key"), h.Get("X-Check-Cacheable"), h.Get("Akamai-Cache-Status")
	if !strings.HasPrefix(a.XCache, "TCP_") && a.XCache != "" {
		a.Via, a.XCache = "X-Cache: "+a.XCache, "" // of another cache: Fastly, CloudFront, Varnish
	}
	for _, name := range []string{"Via", "X-Varnish", "CF-Cache-Status", "X-Served-By"} {
		if value := h.Get(name); value != "" && a.Via == "" {
			a.Via = name + ": " + value
		}
	}
	if seconds, err := strconv.Atoi(h.Get("Age")); err == nil && seconds >= 0 {
		a.Age = &seconds
	}
	if tags := h.Get("Edge-Cache-Tag"); tags != "" { // Akamai reads only the first such header
		for tag := range strings.SplitSeq(tags, ",") {
			a.Tags = append(a.Tags, strings.TrimSpace(tag))
		}
	}
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		if to, err := resp.Location(); err == nil {
			a.Location = to.String()
		}
	}
}

// readBody reads the decoded body up to MaxBody bytes, for its hash, its length and the
// text that it should contain. Of the encoded body it reads at most 64 KiB more than
// MaxBody: an encoder can go on for ever without a byte of content.
func readBody(a *verify.Answer, resp *http.Response, contains string) error {
	raw := &io.LimitedReader{R: resp.Body, N: MaxBody + 64<<10}
	body, err := decoded(raw, resp.Header.Get("Content-Encoding"))
	if err != nil {
		return err
	}
	sum := &digest{Hash: sha256.New(), search: search{want: []byte(contains)}}
	a.Length, err = io.Copy(sum, io.LimitReader(body, MaxBody))
	// One byte more shows whether the body ends exactly here.
	if err == nil && a.Length == MaxBody {
		n, end := io.ReadFull(body, make([]byte, 1))
		a.Cut = n > 0 || end != io.EOF
	}
	// The encoded body was cut, so an error of the decoder says nothing about the server.
	if raw.N <= 0 {
		a.Cut, err = true, nil
	}
	a.SHA256, a.Contains = hex.EncodeToString(sum.Sum(nil)), sum.found
	if err != nil {
		return fmt.Errorf("the answer breaks off after %d bytes: %w", a.Length, err)
	}
	return nil
}

// decoded returns a reader of the decoded body. Another encoding than those that were
// asked for is an error.
func decoded(r io.Reader, encoding string) (io.Reader, error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "identity":
		return r, nil
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(r)
		if errors.Is(err, io.EOF) { // a 304 or an empty body that is called gzip
			return bytes.NewReader(nil), nil
		}
		return z, err
	case "br":
		return brotli.NewReader(r), nil
	}
	return nil, fmt.Errorf("the answer is encoded as %q, which was not asked for", encoding)
}

// digest hashes the bytes that are written to it, and searches them.
type digest struct {
	hash.Hash
	search
}

// Write implements io.Writer. Both embedded types see all bytes.
func (d *digest) Write(p []byte) (int, error) {
	d.look(p)
	return d.Hash.Write(p)
}

// search looks for bytes in a stream that comes in pieces.
type search struct {
	want  []byte // empty: nothing is searched for
	tail  []byte // the last bytes that passed, fewer than want has
	found bool
}

// look searches the next piece. What is wanted may lie across pieces, so the end of what
// passed is joined with the beginning of p. The tail is copied, because the caller uses p
// again.
func (s *search) look(p []byte) {
	if s.found || len(s.want) == 0 {
		return
	}
	edge := append(s.tail, p[:min(len(p), len(s.want))]...)
	s.found = bytes.Contains(edge, s.want) || bytes.Contains(p, s.want)
	keep := len(s.want) - 1
	if len(p) >= keep {
		s.tail = append(s.tail[:0], p[len(p)-keep:]...)
		return
	}
	s.tail = append([]byte(nil), edge[max(0, len(edge)-keep):]...)
}
