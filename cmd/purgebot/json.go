package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"iter"
)

// jsonObject writes a JSON object a field at a time, so that a list may be
// longer than memory. end says whether all of it was written.
type jsonObject struct {
	w      *bufio.Writer
	indent string // of the fields
	fields int
	err    error
}

const jsonIndent = "  "

func newJSONObject(w io.Writer) *jsonObject {
	o := &jsonObject{w: bufio.NewWriter(w), indent: jsonIndent}
	o.write("{")
	return o
}

func (o *jsonObject) write(text string) {
	if _, err := o.w.WriteString(text); o.err == nil {
		o.err = err
	}
}

// next begins the next of some values.
func (o *jsonObject) next(n *int, indent string) {
	if *n++; *n > 1 {
		o.write(",")
	}
	o.write("\n" + indent)
}

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

func (o *jsonObject) name(name string) {
	o.next(&o.fields, o.indent)
	o.write(`"` + name + `": `)
}

func (o *jsonObject) field(name string, v any) {
	o.name(name)
	o.value(v, o.indent)
}

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

func (o *jsonObject) end() error {
	o.write("\n}\n")
	if err := o.w.Flush(); o.err == nil {
		o.err = err
	}
	return o.err
}
