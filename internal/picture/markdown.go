package picture

import "strings"

// block is a part of a Markdown text: as much of the language as the program
// writes.
type block struct {
	kind  blockKind
	spans []span     // of all but a table
	rows  [][][]span // of a table, its head first
}

type blockKind int

const (
	paragraph blockKind = iota
	title               // ##
	heading
	item
	fold // <details>, shut
	verbatim
	table
)

// parse reads Markdown. It knows no errors: what it does not know is text.
func parse(markdown string) (blocks []block) {
	lines := strings.Split(strings.ReplaceAll(markdown, "\r\n", "\n"), "\n")
	open := false // a paragraph that the next line goes on with
	for len(lines) > 0 {
		b, n, ok := parseBlock(lines)
		switch last := len(blocks) - 1; {
		case !ok:
			open = false
		case b.kind == paragraph && open:
			blocks[last].spans = append(append(blocks[last].spans, span{" ", plain}), b.spans...)
		default:
			blocks = append(blocks, b)
			open = b.kind == paragraph
		}
		lines = lines[n:]
	}
	return blocks
}

// parseBlock reads the block that the lines begin with, and how many lines it
// takes; ok is false for an empty line and a
// comment, which GitHub does not show.
func parseBlock(lines []string) (b block, n int, ok bool) {
	line := strings.TrimSpace(lines[0])
	switch {
	case line == "":
		return b, 1, false
	case strings.HasPrefix(line, "```"):
		n = untilLine(lines, "```")
		text := strings.Join(lines[1:max(1, n-1)], "\n")
		return block{kind: verbatim, spans: []span{{text, code}}}, n, true
	case strings.HasPrefix(line, "|"):
		return parseTable(lines)
	case strings.HasPrefix(line, "<!--") && strings.HasSuffix(line, "-->"):
		return b, 1, false
	case strings.HasPrefix(line, "## "):
		return block{kind: title, spans: inline(line[3:], strong)}, 1, true
	case strings.HasPrefix(line, "#"):
		return block{kind: heading, spans: inline(strings.TrimLeft(line, "# "), strong)}, 1, true
	case strings.HasPrefix(line, "- "):
		return block{kind: item, spans: inline(line[2:], plain)}, 1, true
	case strings.HasPrefix(line, "<details>"):
		summary := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(line, "<details>"), "<summary>"), "</summary>")
		return block{kind: fold, spans: inline(summary, plain)}, untilLine(lines, "</details>"), true
	}
	return block{spans: inline(line, plain)}, 1, true
}

// untilLine counts the lines up to and with the next one that is end.
func untilLine(lines []string, end string) int {
	for i, line := range lines[1:] {
		if strings.TrimSpace(line) == end {
			return i + 2
		}
	}
	return len(lines)
}

// parseTable reads a table. The program writes no "|" into a cell.
func parseTable(lines []string) (block, int, bool) {
	b, n := block{kind: table}, 0
	for ; n < len(lines); n++ {
		line := strings.TrimSpace(lines[n])
		if !strings.HasPrefix(line, "|") {
			break
		}
		if n == 1 { // the rule below the head
			continue
		}
		var row [][]span
		for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			f := plain
			if n == 0 {
				f = soft
			}
			row = append(row, inline(strings.TrimSpace(cell), f))
		}
		b.rows = append(b.rows, row)
	}
	return b, n, true
}

// inline reads code, strong and soft words and links in a line whose other
// text has the given face.
func inline(s string, f face) (spans []span) {
	s = strings.ReplaceAll(s, "\u200b", "")
	text := 0
	for i := 0; i < len(s); {
		got, n := inlineAt(s[i:])
		if n == 0 {
			i++
			continue
		}
		spans = addSpan(spans, s[text:i], f)
		spans = append(spans, got)
		i += n
		text = i
	}
	return addSpan(spans, s[text:], f)
}

func addSpan(spans []span, text string, f face) []span {
	if text == "" {
		return spans
	}
	return append(spans, span{text, f})
}

// inlineAt reads what begins here; n is 0 if it is text.
func inlineAt(s string) (got span, n int) {
	switch s[0] {
	case '`':
		fence := s[:len(s)-len(strings.TrimLeft(s, "`"))]
		if body, ok := between(s, fence, fence); ok {
			return span{strings.TrimSpace(body), code}, len(body) + 2*len(fence)
		}
	case '*':
		for _, mark := range []struct {
			sign string
			face face
		}{{"**", strong}, {"*", soft}} {
			if body, ok := between(s, mark.sign, mark.sign); ok {
				return span{body, mark.face}, len(body) + 2*len(mark.sign)
			}
		}
	case '[':
		body, ok := between(s, "[", "](")
		if !ok {
			return got, 0
		}
		if address, ok := between(s[1+len(body):], "](", ")"); ok {
			return span{body, link}, len("[](") + len(body) + len(address) + len(")")
		}
	}
	return got, 0
}

// between is what stands between two marks, if the text begins with the first
// and something stands there.
func between(s, begin, end string) (string, bool) {
	rest, ok := strings.CutPrefix(s, begin)
	if !ok {
		return "", false
	}
	body, _, ok := strings.Cut(rest, end)
	return body, ok && body != ""
}

// plainText is a Markdown text without its marks, a line a block.
func plainText(markdown string) string {
	var lines []string
	for _, b := range parse(markdown) {
		var line strings.Builder
		for _, s := range b.spans {
			line.WriteString(s.text)
		}
		lines = append(lines, line.String())
	}
	return strings.Join(lines, "\n")
}
