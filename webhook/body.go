package webhook

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-github/v60/github"
	"github.com/labstack/echo/v4"
)

const (
	// pieceSize is how much memory a body takes at a time, as it arrives. The length that
	// a client announces reserves nothing. Each request has its first piece without a
	// limit here; the number of connections bounds those.
	pieceSize = 32 << 10

	// usualBody is the largest body that counts as usual. Pushes and deployments are
	// about a tenth of it.
	usualBody = 256 << 10

	// usualRoom and largeRoom are how many bytes of unverified bodies, beyond the first
	// pieces, may be in memory, over all requests. Large bodies never take the room of
	// usual ones.
	usualRoom = 16 << 20
	largeRoom = 32 << 20
)

// room is a number of free bytes. It is safe for concurrent use.
type room struct{ free atomic.Int64 }

func newRoom(size int64) *room {
	r := &room{}
	r.free.Store(size)
	return r
}

func (r *room) take(n int64) bool {
	if r.free.Add(-n) >= 0 {
		return true
	}
	r.free.Add(n)
	return false
}

// rooms hold the bodies whose signature is not verified yet. Their pieces are used again.
type rooms struct {
	usual, large *room
	pieces       sync.Pool // of *[pieceSize]byte
}

func newRooms() *rooms {
	return &rooms{
		usual: newRoom(usualRoom), large: newRoom(largeRoom),
		pieces: sync.Pool{New: func() any { return new([pieceSize]byte) }},
	}
}

// unsigned looks at the headers only. It refuses a body that is too large or that has no
// signature of the right form. Otherwise it gives the HMAC that the body must have.
//
// Only SHA-256 is accepted. GitHub also sends the legacy X-Hub-Signature with SHA-1;
// accepting that too would make the weaker hash sufficient.
func unsigned(req *http.Request) (want []byte, refusal *answer) {
	if req.ContentLength > MaxBody {
		return nil, tooLarge()
	}
	signature := req.Header.Get(github.SHA256SignatureHeader)
	if signature == "" {
		return nil, &answer{
			code: http.StatusUnauthorized, early: true,
			message: "the header " + github.SHA256SignatureHeader + " is missing: set the webhook's secret in the GitHub App",
		}
	}
	digits, named := strings.CutPrefix(signature, "sha256=")
	want, err := hex.DecodeString(digits)
	if !named || err != nil || len(want) != sha256.Size {
		return nil, misfit(true)
	}
	return want, nil
}

func tooLarge() *answer {
	return &answer{
		code: http.StatusRequestEntityTooLarge, early: true,
		message: fmt.Sprintf("the body is larger than %d bytes", MaxBody),
	}
}

// misfit is the same answer for a malformed and for a wrong signature.
func misfit(early bool) *answer {
	return &answer{
		code: http.StatusUnauthorized, early: early,
		message: "the signature does not fit: the GitHub App's webhook secret and purgebot's differ",
	}
}

// authentic reads the body, for at most patience and at most MaxBody bytes. It returns
// the body if its HMAC with any of the secrets is the wanted one. hmac.Equal compares in
// constant time, so that the time of an answer does not reveal the HMAC.
func (r *receiver) authentic(c echo.Context, want []byte) ([]byte, *answer) {
	conn := http.NewResponseController(c.Response())
	limited := conn.SetReadDeadline(time.Now().Add(patience)) == nil
	macs := make([]hash.Hash, len(r.secrets))
	for i, secret := range r.secrets {
		macs[i] = hmac.New(sha256.New, secret)
	}
	body := &body{rooms: r.rooms, from: r.rooms.large}
	defer body.release()
	if n := c.Request().ContentLength; n >= 0 && n <= usualBody {
		body.from = r.rooms.usual
	}
	if refusal := body.read(c.Request().Body, macs); refusal != nil {
		return nil, refusal
	}
	if limited {
		_ = conn.SetReadDeadline(time.Time{}) // or the connection would be cut while Store works
	}
	if !slices.ContainsFunc(macs, func(mac hash.Hash) bool { return hmac.Equal(mac.Sum(nil), want) }) {
		return nil, misfit(false)
	}
	return body.bytes(), nil
}

// body is one body while it is read. release must be called at the end.
type body struct {
	rooms  *rooms
	from   *room
	pieces []*[pieceSize]byte
	size   int
}

// read reads a body to its end, in pieces, and feeds them to the signature checks as they
// come. Each piece beyond the first takes room that all bodies share. So a client that
// sends a large body slowly cannot use up the memory of the others.
func (b *body) read(from io.Reader, macs []hash.Hash) *answer {
	for {
		if len(b.pieces) > 0 && !b.from.take(pieceSize) {
			return &answer{
				code: http.StatusServiceUnavailable, early: true,
				message: "too many large bodies are being read; the delivery will be asked for again",
			}
		}
		piece := b.rooms.pieces.Get().(*[pieceSize]byte)
		b.pieces = append(b.pieces, piece)
		n, err := fill(piece[:], from)
		b.size += n
		for _, mac := range macs {
			mac.Write(piece[:n])
		}
		switch {
		case b.size > MaxBody:
			return tooLarge()
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return interrupted(err)
		}
	}
}

// fill is io.ReadFull, except that it keeps the reader's own error. A body that ends
// early gives io.ErrUnexpectedEOF; a body that ends within a piece gives io.EOF.
// io.ReadFull gives io.ErrUnexpectedEOF for both.
func fill(piece []byte, from io.Reader) (n int, err error) {
	for n < len(piece) && err == nil {
		var more int
		more, err = from.Read(piece[n:])
		n += more
	}
	return n, err
}

// interrupted is the answer to a body that does not come to its end.
func interrupted(err error) *answer {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &answer{code: http.StatusRequestTimeout, early: true, message: fmt.Sprintf("the body did not arrive within %s", patience)}
	}
	return &answer{code: http.StatusBadRequest, early: true, message: "the body ended early", err: fmt.Errorf("read body: %w", err)}
}

// bytes joins the pieces in a slice of its own, which stays valid after release.
func (b *body) bytes() []byte {
	var all bytes.Buffer
	all.Grow(b.size)
	for left := b.size; left > 0; left = b.size - all.Len() {
		all.Write(b.pieces[all.Len()/pieceSize][:min(left, pieceSize)])
	}
	return all.Bytes()
}

// release gives the room back and lets the pieces be used again.
func (b *body) release() {
	for _, piece := range b.pieces {
		b.rooms.pieces.Put(piece)
	}
	b.from.free.Add(pieceSize * int64(max(len(b.pieces)-1, 0)))
}
