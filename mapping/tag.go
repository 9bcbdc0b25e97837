package mapping

import "github.com/purgebot/purgebot/internal/object"

// tagFault returns why Akamai would not take a tag, as a whole clause, or "".
func tagFault(tag string) string {
	if fault := object.TagFault(tag); fault != "" {
		return "the tag " + fault
	}
	return ""
}

// appendText appends the template with its values, not encoded except where a piece asks
// for it.
func (ps pieces) appendText(dst []byte, v *values, host string) []byte {
	for _, p := range ps {
		if p.component() {
			dst = object.AppendComponent(dst, v.of(p, host))
			continue
		}
		dst = append(dst, v.of(p, host)...)
	}
	return dst
}
