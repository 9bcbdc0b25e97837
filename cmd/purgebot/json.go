package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"iter"
)

// jsonObject writes a JSON object field by field, so that a list may be larger than
// memory. The first error is kept; writing goes on without effect, and end returns it. A
// caller therefore checks end alone.
type jsonObject struct {
	w      *bufio.Writer
	indent string // of the fields
	fields int    // written so far; decides about the comma
	err    error  // the first one
}

// jsonIndent is the same as in the documents that encoding/json writes as a whole.
const jsonIndent = "  "

// newJSONObject opens an object. The caller must call end, which closes and flushes it.
func newJSONObject(w io.Writer) *jsonObject {
	o := &jsonObject{w: bufio.NewWriter(w), indent: jsonIndent}
	o.write("{")
	return o
}

// write writes text as it is. It still writes after an error: a bufio.Writer ignores it.
func (o *jsonObject) write(text string) {
	if _, err := o.w.WriteString(text); o.err == nil {
		o.err = err
	}
}

// next starts the next of several values on a line of its own, with a comma after the one
// before. n counts the values.
func (o *jsonObject) next(n *int, indent string) {
	if *n++; *n > 1 {
		o.write(",")
	}
	o.write("\n" + indent)
}

// value writes one value as encoding/json does, without escaping <, > and &.
func (o *jsonObject) value(v any, indent string) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent(indent, jsonIndent)
	if err := enc.Encode(v); o.err == nil {
		o.err = err
	}
	o.write(string(bytes.TrimSuffix(b.Bytes(), []byte("\n"))))
}

// name starts a field. The name is not escaped: it must need no escaping.
func (o *jsonObject) name(name string) {
	o.next(&o.fields, o.indent)
	o.write(`"` + name + `": `)
}

// field writes one field as a whole.
func (o *jsonObject) field(name string, v any) {
	o.name(name)
	o.value(v, o.indent)
}

// list writes a field whose value is a list. It takes the values one at a time; an empty
// sequence becomes [].
func (o *jsonObject) list(name string, values iter.Seq[any]) {
	o.name(name)
	o.write("[")
	n := 0
	for v := range values {
		o.next(&n, o.indent+jsonIndent)
		o.value(v, o.indent+jsonIndent)
	}
	if n > 0 {
		o.write("\n" + o.indent)
	}
	o.write("]")
}

// object writes a field whose value is another object, which fields fills.
func (o *jsonObject) object(name string, fields func(*jsonObject)) {
	o.name(name)
	o.write("{")
	inner := &jsonObject{w: o.w, indent: o.indent + jsonIndent}
	fields(inner)
	if o.err == nil {
		o.err = inner.err
	}
	o.write("\n" + o.indent + "}")
}

// end closes the object, flushes it, and returns the first error of all the writing.
func (o *jsonObject) end() error {
	o.write("\n}\n")
	if err := o.w.Flush(); o.err == nil {
		o.err = err
	}
	return o.err
}
