package purger

// The text around the objects in a body of Fast Purge.
const (
	objectsOpen  = `{"objects":[`
	objectsClose = `]}`
)

// Packer measures how many objects fit into one request. It counts bytes exactly as
// [Request.Body] encodes them, so a body can be filled to the last byte. It is for one
// goroutine.
type Packer struct {
	kind    Kind
	most    int // objects; 0: no bound
	objects int
	bytes   int // of the whole body, the brackets included
}

// NewPacker starts an empty request of the kind. It takes at most that many objects; 0
// means that only the bytes decide.
func NewPacker(k Kind, most int) *Packer {
	return &Packer{kind: k, most: most, bytes: len(objectsOpen) + len(objectsClose)}
}

// Add counts the object in and returns true, or leaves it out and returns false because
// it does not fit any more. A shorter object may still fit. The caller has made sure with
// [Check] that the object fits alone.
func (p *Packer) Add(object string) bool {
	if p.most > 0 && p.objects >= p.most {
		return false
	}
	n := len(object)
	if p.kind != CPCode {
		n = encodedLen(object)
	}
	if p.objects > 0 {
		n++ // the comma
	}
	if p.bytes+n > MaxBody {
		return false
	}
	p.bytes += n
	p.objects++
	return true
}

// Bytes is the exact size of the body that these objects make.
func (p *Packer) Bytes() int { return p.bytes }

// appendString appends s as a JSON string. It escapes only what JSON requires.
// json.Marshal turns & into six bytes by default, which would count against MaxBody. s
// must be valid UTF-8.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if escapedLen(c) == 1 {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		if c == '"' || c == '\\' {
			dst = append(dst, '\\', c)
		} else {
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		}
	}
	return append(append(dst, s[from:]...), '"')
}

// encodedLen is the number of bytes that appendString adds, the quotes included.
func encodedLen(s string) int {
	n := 2
	for i := range len(s) {
		n += escapedLen(s[i])
	}
	return n
}

// escapedLen is how many bytes one byte of a string takes in JSON. It decides for
// appendString too, so that both always agree.
func escapedLen(c byte) int {
	switch {
	case c == '"', c == '\\':
		return 2
	case c < ' ':
		return 6
	}
	return 1
}
