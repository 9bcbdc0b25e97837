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
	// pieceSize is what a body takes of memory at a time, as it arrives: what
	// a client says that it will send takes none. The first piece is every
	// request's, and bounded by how many connections there may be.
	pieceSize = 32 << 10

	// usualBody is how long a body is that counts as one of usual size. Those
	// of pushes and deployments are a tenth of it.
	usualBody = 256 << 10

	// usualRoom and largeRoom are how many bytes of bodies may be in memory
	// beyond the first pieces, of all requests whose signature is not verified
	// yet. Large ones never take the room of usual ones.
	usualRoom = 16 << 20
	largeRoom = 32 << 20
)

// room is a number of bytes that are free.
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

// rooms hold the bodies that are not verified yet, in pieces that are used
// again.
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

// unsigned refuses by the headers alone what is too large, or has no
// signature that could fit, and gives the HMAC that the body must have.
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

func misfit(early bool) *answer {
	return &answer{
		code: http.StatusUnauthorized, early: early,
		message: "the signature does not fit: the GitHub App's webhook secret and purgebot's differ",
	}
}

// authentic reads the body within GitHub's patience and never more than
// MaxBody bytes of it, and gives it if the HMAC with any of the secrets is
// the one that is wanted.
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
		_ = conn.SetReadDeadline(time.Time{}) // or the connection is cut while Store works
	}
	if !slices.ContainsFunc(macs, func(mac hash.Hash) bool { return hmac.Equal(mac.Sum(nil), want) }) {
		return nil, misfit(false)
	}
	return body.bytes(), nil
}

// body is one that is being read.
type body struct {
	rooms  *rooms
	from   *room
	pieces []*[pieceSize]byte
	size   int
}

// read reads a body to its end, in pieces, and feeds the signature's checks while it
// comes. Beyond the first piece each takes a place of those that all bodies share:
// who sends a large one slowly can't take the memory of the others.
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

// fill is io.ReadFull that keeps the reader's own error: a body that ends
// early has io.ErrUnexpectedEOF, one that ends within a piece io.EOF.
func fill(piece []byte, from io.Reader) (n int, err error) {
	for n < len(piece) && err == nil {
		var more int
		more, err = from.Read(piece[n:])
		n += more
	}
	return n, err
}

// interrupted is the answer where a body does not come to its end.
func interrupted(err error) *answer {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &answer{code: http.StatusRequestTimeout, early: true, message: fmt.Sprintf("the body did not arrive within %s", patience)}
	}
	return &answer{code: http.StatusBadRequest, early: true, message: "the body ended early", err: fmt.Errorf("read body: %w", err)}
}

// bytes joins the pieces.
func (b *body) bytes() []byte {
	var all bytes.Buffer
	all.Grow(b.size)
	for left := b.size; left > 0; left = b.size - all.Len() {
		all.Write(b.pieces[all.Len()/pieceSize][:min(left, pieceSize)])
	}
	return all.Bytes()
}

// release gives the room back.
func (b *body) release() {
	for _, piece := range b.pieces {
		b.rooms.pieces.Put(piece)
	}
	b.from.free.Add(pieceSize * int64(max(len(b.pieces)-1, 0)))
}
