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

// traced notes the server's address.
func traced(ctx context.Context, a *verify.Answer) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { a.From = info.Conn.RemoteAddr().String() },
	})
}

// describe takes what the header says.
func describe(a *verify.Answer, resp *http.Response) {
	h := resp.Header
	a.Status = resp.StatusCode
	a.ETag, a.LastModified = h.Get("ETag"), h.Get("Last-Modified")
	a.XCache, a.XCacheRemote = h.Get("X-Cache"), h.Get("X-Cache-Remote")
	a.CacheKey, a.Cacheable, a.CacheStatus = h.Get("X-Cache-Key"), h.Get("X-Check-Cacheable"), h.Get("Akamai-Cache-Status")
	if !strings.HasPrefix(a.XCache, "TCP_") && a.XCache != "" {
		a.Via, a.XCache = "X-Cache: "+a.XCache, "" // another cache's: Fastly, CloudFront, Varnish
	}
	for _, name := range []string{"Via", "X-Varnish", "CF-Cache-Status", "X-Served-By"} {
		if value := h.Get(name); value != "" && a.Via == "" {
			a.Via = name + ": " + value
		}
	}
	if seconds, err := strconv.Atoi(h.Get("Age")); err == nil && seconds >= 0 {
		a.Age = &seconds
	}
	if tags := h.Get("Edge-Cache-Tag"); tags != "" { // only the first counts for Akamai
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

// readBody reads the decoded body up to MaxBody, for its hash and length. No
// more than that is read of the encoded one either: an encoder can say nothing
// for ever.
func readBody(a *verify.Answer, resp *http.Response, contains string) error {
	raw := &io.LimitedReader{R: resp.Body, N: MaxBody + 64<<10}
	body, err := decoded(raw, resp.Header.Get("Content-Encoding"))
	if err != nil {
		return err
	}
	sum := &digest{Hash: sha256.New(), search: search{want: []byte(contains)}}
	a.Length, err = io.Copy(sum, io.LimitReader(body, MaxBody))
	if err == nil && a.Length == MaxBody {
		n, end := io.ReadFull(body, make([]byte, 1))
		a.Cut = n > 0 || end != io.EOF
	}
	if raw.N <= 0 {
		a.Cut, err = true, nil
	}
	a.SHA256, a.Contains = hex.EncodeToString(sum.Sum(nil)), sum.found
	if err != nil {
		return fmt.Errorf("the answer breaks off after %d bytes: %w", a.Length, err)
	}
	return nil
}

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

// digest hashes and searches what passes.
type digest struct {
	hash.Hash
	search
}

func (d *digest) Write(p []byte) (int, error) {
	d.look(p)
	return d.Hash.Write(p)
}

// search looks for bytes in a stream.
type search struct {
	want  []byte
	tail  []byte // of what passed, shorter than want
	found bool
}

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
