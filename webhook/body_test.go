package webhook_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/purgebot/purgebot/webhook"
)

// slow is a delivery that never ends.
type slow struct {
	net.Conn
	t *testing.T
}

// begin sends the head of a delivery with a body of that length, and the first bytes of
// the body.
func begin(t *testing.T, to, signature string, length, sent int) slow {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	littleBuffered(t, conn)
	fmt.Fprintf(conn, "POST /webhook HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: %s\r\nContent-Length: %d\r\n\r\n", signature, length)
	if _, err := conn.Write(make([]byte, sent)); err != nil {
		t.Fatal(err)
	}
	return slow{conn, t}
}

// answer is the head of the answer that it gets.
func (s slow) answer() (code int, retryAfter string, closes bool) {
	s.t.Helper()
	if err := s.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(s), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode, res.Header.Get("Retry-After"), res.Close
}

// If the headers already make the answer certain, the body is not waited for.
func TestUnsignedBodyIsNotRead(t *testing.T) {
	to := serve(t, &memory{}, t.Output())
	for _, signature := range []string{"", "sha1=0123", "sha256=", "sha256=" + strings.Repeat("0", 63), "sha256=" + strings.Repeat("z", 64)} {
		if code, _, closes := begin(t, to, signature, webhook.MaxBody, 0).answer(); code != http.StatusUnauthorized || !closes {
			t.Errorf("signature %q: %d, closes: %t", signature, code, closes)
		}
	}
}

// Bodies whose signature is not verified yet share a bounded room. Large ones do not take
// the room of the others.
func TestBodiesInFlightAreBounded(t *testing.T) {
	to, guess := serve(t, &memory{}, t.Output()), sha256Of("guess", "")
	first := begin(t, to, guess, webhook.MaxBody, webhook.MaxBody-1) // most of it is in memory when begin returns
	second := begin(t, to, guess, webhook.MaxBody, 0)
	go second.Write(make([]byte, webhook.MaxBody)) //nolint:errcheck // cut off, that's the point
	if code, retryAfter, _ := second.answer(); code != http.StatusServiceUnavailable || retryAfter == "" {
		t.Errorf("beside one of %d bytes: %d, Retry-After %q", webhook.MaxBody, code, retryAfter)
	}
	usual := strings.Replace(pushJSON, "{", `{"commits":"`+strings.Repeat("x", 200<<10)+`",`, 1)
	if code, message := send(t, delivery(t, to, "push", usual)); code != http.StatusAccepted {
		t.Errorf("a push of usual size meanwhile: %d %s", code, message)
	}
	if _, err := first.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := first.answer(); code != http.StatusUnauthorized {
		t.Errorf("the first: %d", code)
	}
	if code, _, _ := begin(t, to, guess, webhook.MaxBody, webhook.MaxBody).answer(); code != http.StatusUnauthorized {
		t.Errorf("when there is room again: %d", code)
	}
}
