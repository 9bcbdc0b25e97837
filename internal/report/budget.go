package report

import (
	"fmt"
	"strings"
)

// tail is how many bytes are kept free for the line that says that something was cut.
const tail = 300

// budget is a Markdown text of a bounded size. A part that does not fit is left out as a
// whole, and everything after it as well: no tag stays open and no table is torn. The
// last line says that something is missing.
type budget struct {
	b    strings.Builder
	left int // bytes that may still be written
	full bool
	lost int // rows that were left out
}

// add writes a part, or nothing of it.
func (w *budget) add(part string) bool {
	if w.full || len(part) > w.left {
		w.full = true
		return false
	}
	w.left -= len(part)
	w.b.WriteString(part)
	return true
}

// list writes one line for each item, with before in front of it. A long list is folded.
func (w *budget) list(items []string, before string) {
	if len(items) == 0 {
		return
	}
	w.rows(len(items) > folds, Amount(len(items), "line", "lines"), "", len(items), func(i int) string { return before + items[i] + "\n" })
}

// table writes a table, folded or not.
func (w *budget) table(fold bool, head []string, rows [][]string) {
	line := func(cells []string) string { return "| " + strings.Join(cells, " | ") + " |\n" }
	w.rows(fold, Amount(len(rows), "row", "rows"), line(head)+strings.Repeat("| --- ", len(head))+"|\n", len(rows),
		func(i int) string { return line(rows[i]) })
}

// rows writes as many rows as fit between the opening and the end. The end is paid for
// first, so that a folded part is always closed.
func (w *budget) rows(fold bool, summary, head string, n int, row func(int) string) {
	open, end := head, "\n"
	if fold {
		open, end = "<details><summary>"+summary+"</summary>\n\n"+head, "\n</details>\n\n"
	}
	if n == 0 || w.full || len(open)+len(row(0))+len(end) > w.left {
		w.full, w.lost = true, w.lost+n
		return
	}
	w.left -= len(end)
	w.add(open)
	for i := range n {
		if !w.add(row(i)) {
			w.lost += n - i
			break
		}
	}
	w.b.WriteString(end)
}

// done gives the text. If anything was cut, its last line says so, and whole says where
// the full text is. That line has room: tail was kept free for it.
func (w *budget) done(whole string) string {
	if w.full {
		words := "**Incomplete list:** GitHub allows no more text here"
		if w.lost > 0 {
			words += fmt.Sprintf("; %s left out", Amount(w.lost, "line is", "lines are"))
		}
		w.b.WriteString(strings.TrimRight(words+". "+whole, " ") + "\n")
	}
	return strings.TrimRight(w.b.String(), "\n")
}
