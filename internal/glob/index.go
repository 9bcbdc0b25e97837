package glob

import (
	"slices"
	"strconv"
	"strings"
	"sync"
)

// An Index finds which of many globs match a path, at a cost that hardly grows
// with their number. Its answer is always that of asking each glob.
//
// It is an automaton that reads a path folder by folder, and is made as paths
// need it. A place in a glob is a segment that it waits for. What a path has
// reached is a folder: layers of places, because a "**" keeps its places for
// all folders below, where they needn't be sorted again. A file's name is
// looked up among the names and extensions that its folder waits for. That
// gives candidates; where the automaton can't be sure, the globs are asked.
//
// Several goroutines may use an Index; they take turns.
type Index struct {
	globs []*Glob
	sure  []bool // by glob: a candidate matches
	steps []step
	exts  map[string]string // the extensions that steps name, by themselves

	mu      sync.Mutex
	root    *folder
	folders map[string]*folder // by the ids of their layers
	layers  map[string]*layer  // by their places
	size    int                // of what the maps of index and folders hold
	dir     string             // the last directory asked for, …
	way     []stop             // … and the folders on the way to it
	key     []byte             // see numbersKey
	places  []int              // scratch of enter, …
	own     []int              // … of join, …
	joined  []*layer           // … and of beyond
	work    *Work              // of the path that is being matched
}

// Bounds on memory. A glob whose steps don't fit is a candidate for every
// path; an index that holds too much forgets all but its steps.
const (
	maxIndexSteps = 1 << 16
	maxIndexSize  = 1 << 18
)

// A stop is where an index is once it has read a directory up to a byte.
type stop struct {
	end    int
	folder *folder
	odd    bool // there is an empty segment
}

// A folder is what one or many directories mean to the globs.
type folder struct {
	layers []*layer
	asks   bool               // some names lead elsewhere than others
	tries  bool               // … and may have to be compared to know that
	names  bool               // some files are waited for by name
	next   map[string]*folder // by name
	other  *folder            // for the names that no place waits for; nil: not made yet
	answer map[string]*answer // by a file's extension; "": any that no step names
	ext    string             // the last extension asked for …
	last   *answer            // … and its answer
}

// An answer is what the files of a folder with one extension match.
type answer struct {
	globs []int // ascending
	some  []int // places to compare with the name
}

// A layer is a set of places that were reached together.
type layer struct {
	id     int
	places []int
	stay   *layer // the places that every folder's name leads back to; nil: none

	// Where the names of folders lead.
	names map[string][]int
	some  map[byte][]int // places to compare with the name, by its first byte; 0: any
	each  []int

	// The places that take a file.
	file     map[string][]int // by name
	ext      map[string][]int
	someFile []int // to compare with the name
	eachFile []int
}

// NewIndex makes an index of globs, which Match numbers from 0.
func NewIndex(globs []*Glob) *Index {
	x := &Index{globs: globs, exts: make(map[string]string), steps: make([]step, 0, 5*len(globs))}
	for i, g := range globs {
		rows := [][]step{{{kind: allBelow}}}
		fits := len(x.steps)+g.parsed.tokens <= maxIndexSteps
		if fits {
			rows = g.rows()
		}
		x.sure = append(x.sure, g.exact && fits)
		for _, row := range rows {
			for _, s := range row {
				s.glob = i
				x.steps = append(x.steps, s)
				x.exts[s.ext()] = s.ext()
			}
			x.steps[len(x.steps)-1].last = true
		}
	}
	x.forget()
	return x
}

// Match appends to dst the numbers of the globs that match path, ascending.
// Once the work has run out the answer means nothing. It allocates nothing for
// a path that none matches, once its folder is known.
func (x *Index) Match(path string, dst []int, w *Work) []int {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.work = w
	dst = x.find(path, dst)
	x.work = nil
	return dst
}

func (x *Index) find(path string, dst []int) []int {
	x.work.Take(1)
	if x.size > maxIndexSize {
		x.forget()
	}
	base, ext := baseAndExtension(path)
	f, odd := x.root, base == ""
	if len(base) < len(path) {
		f, odd = x.folder(path[:len(path)-len(base)-1])
		odd = odd || base == ""
	}
	if f == nil {
		return x.ask(path, dst)
	}
	begin := len(dst)
	dst = x.candidates(f, base, ext, dst)
	end := begin
	for _, i := range dst[begin:] {
		if x.sure[i] && !odd || x.globs[i].Match(path, x.work) {
			dst[end] = i
			end++
		}
	}
	return dst[:end]
}

// ask is the naive way.
func (x *Index) ask(path string, dst []int) []int {
	for i, g := range x.globs {
		if g.Match(path, x.work) {
			dst = append(dst, i)
		}
	}
	return dst
}

// candidates appends the globs that take the file called base in f, ascending.
func (x *Index) candidates(f *folder, base, ext string, dst []int) []int {
	if len(f.layers) == 0 {
		return dst
	}
	begin := len(dst)
	a := x.answer(f, ext)
	dst = append(dst, a.globs...)
	n := len(dst)
	for _, p := range a.some {
		s := &x.steps[p]
		if x.work.Take(s.cost(base)) && s.fits(base) {
			dst = append(dst, s.glob)
		}
	}
	if f.names {
		x.work.Take(len(f.layers))
		for _, l := range f.layers {
			for _, p := range l.file[base] {
				dst = append(dst, x.steps[p].glob)
			}
		}
	}
	if len(dst) > n {
		slices.Sort(dst[begin:])
		dst = dst[:begin+len(slices.Compact(dst[begin:]))]
	}
	return dst
}

// answer finds or makes what f says of files with an extension.
func (x *Index) answer(f *folder, ext string) *answer {
	if f.last != nil && ext == f.ext {
		return f.last
	}
	own, known := x.exts[ext] // not a part of the path, which need not be kept
	a := f.answer[own]
	if a == nil {
		a = x.newAnswer(f, own)
	}
	if known {
		f.ext, f.last = own, a
	}
	return a
}

func (x *Index) newAnswer(f *folder, ext string) *answer {
	a := new(answer)
	for _, l := range f.layers {
		x.work.Take(len(l.eachFile) + len(l.someFile) + len(l.ext[ext]))
		for _, p := range l.eachFile {
			a.globs = append(a.globs, x.steps[p].glob)
		}
		for _, p := range l.ext[ext] {
			if s := &x.steps[p]; s.prefix == "" && s.tokens == nil && s.suffix == ext {
				a.globs = append(a.globs, s.glob)
			} else {
				a.some = append(a.some, p)
			}
		}
		a.some = append(a.some, l.someFile...)
	}
	slices.Sort(a.globs)
	a.globs = slices.Compact(a.globs)
	if f.answer == nil {
		f.answer = make(map[string]*answer)
	}
	f.answer[ext] = a
	x.size += 1 + len(a.globs) + len(a.some)
	return a
}

// folder finds the folder of a directory, and whether that has an empty
// segment. It is nil if the index would hold too much.
func (x *Index) folder(dir string) (f *folder, odd bool) {
	if dir == x.dir && len(x.way) > 0 {
		at := x.way[len(x.way)-1]
		return at.folder, at.odd
	}
	at := x.shared(dir)
	for at.end < len(dir) && len(at.folder.layers) > 0 || at.end < 0 {
		rest := dir[at.end+1:]
		end := strings.IndexByte(rest, '/')
		if end < 0 {
			end = len(rest)
		}
		x.work.Take(1)
		at.folder, at.odd = x.enter(at.folder, rest[:end]), at.odd || end == 0
		if x.size > 2*maxIndexSize {
			x.way = x.way[:0]
			return nil, at.odd
		}
		at.end += 1 + end
		x.way = append(x.way, at)
	}
	x.dir = dir
	return at.folder, at.odd
}

// shared is how far a directory is one with the last. git lists the paths below
// a folder one after the other.
func (x *Index) shared(dir string) stop {
	same := 0
	for same < min(len(dir), len(x.dir)) && dir[same] == x.dir[same] {
		same++
	}
	for n := len(x.way); n > 0; n-- {
		if at := x.way[n-1]; at.end <= same && (at.end == len(dir) || at.end < len(dir) && dir[at.end] == '/') {
			x.way = x.way[:n]
			return at
		}
	}
	x.way = x.way[:0]
	return stop{end: -1, folder: x.root}
}

// enter finds or makes the folder called segment in f. Names that no place
// waits for all lead to the same.
func (x *Index) enter(f *folder, segment string) *folder {
	if f.other != nil && !f.asks {
		return f.other
	}
	if next := f.next[segment]; next != nil {
		return next
	}
	places := x.places[:0]
	for _, l := range f.layers {
		places = append(places, l.names[segment]...)
		places = x.fitting(l.some[0], segment, places)
		if segment != "" {
			places = x.fitting(l.some[segment[0]], segment, places)
		}
	}
	x.places = places
	if len(places) == 0 {
		if f.other == nil {
			f.other = x.beyond(f, nil)
		}
		if !f.tries { // to look the name up again costs less than to remember it
			x.work.Take(len(f.layers))
			return f.other
		}
	}
	x.work.Take(20)
	next := f.other
	if len(places) > 0 {
		next = x.beyond(f, places)
	}
	if f.next == nil {
		f.next = make(map[string]*folder)
	}
	f.next[strings.Clone(segment)] = next
	x.size++
	return next
}

// fitting appends where those of some lead that fit segment.
func (x *Index) fitting(some []int, segment string, places []int) []int {
	for _, p := range some {
		if s := &x.steps[p]; x.work.Take(s.cost(segment)) && s.fits(segment) {
			places = append(places, p+1)
		}
	}
	return places
}

// beyond gives the folder in f whose name leads to places, and to where all
// names lead.
func (x *Index) beyond(f *folder, places []int) *folder {
	layers := x.joined[:0]
	x.work.Take(len(f.layers) * (1 + len(f.layers)/8))
	for _, l := range f.layers {
		if l.stay != nil && !slices.Contains(layers, l.stay) {
			layers = append(layers, l.stay)
		}
		places = append(places, l.each...)
	}
	x.joined = layers
	return x.join(layers, places)
}

// forget makes the index as new.
func (x *Index) forget() {
	x.folders, x.layers = make(map[string]*folder), make(map[string]*layer)
	x.way = x.way[:0]
	var places []int
	for p := range x.steps {
		if p == 0 || x.steps[p-1].last {
			places = append(places, p)
		}
	}
	x.root = x.join(nil, places)
	x.size = 0 // the root's is bounded by the steps
}

// join gives the one folder with these layers, and one more of those places
// that are in none of them.
func (x *Index) join(layers []*layer, places []int) *folder {
	own := x.own[:0]
	x.work.Take(30 + 4*len(places))
	for _, p := range places {
		for ; x.steps[p].kind == anyFolders; p++ {
			own = append(own, p)
		}
		own = append(own, p)
	}
	x.work.Take(len(own) * (4 + 2*len(layers))) // to search and to sort
	own = slices.DeleteFunc(own, func(p int) bool {
		return slices.ContainsFunc(layers, func(l *layer) bool {
			_, found := slices.BinarySearch(l.places, p)
			return found
		})
	})
	if len(own) > 0 {
		slices.Sort(own)
		layers = append(layers, x.layer(slices.Compact(own)))
	}
	ids := own[:0]
	for _, l := range layers {
		ids = append(ids, l.id)
	}
	x.own = ids
	k := x.numbersKey(ids)
	f := x.folders[string(k)]
	if f == nil {
		f = &folder{layers: slices.Clone(layers)}
		for _, l := range layers {
			f.asks, f.tries = f.asks || len(l.names)+len(l.some) > 0, f.tries || len(l.some) > 0
			f.names = f.names || len(l.file) > 0
		}
		x.folders[string(k)] = f
		x.size += len(layers) + 1
	}
	return f
}

// layer gives the one layer with these places, which are ascending.
func (x *Index) layer(places []int) *layer {
	k := x.numbersKey(places)
	if l := x.layers[string(k)]; l != nil {
		return l
	}
	x.work.Take(30 * len(places))
	places = slices.Clone(places)
	l := &layer{id: len(x.layers), places: places}
	x.layers[string(k)] = l
	x.size += 2 * len(places)
	var stay []int
	for _, p := range places {
		s := &x.steps[p]
		switch {
		case s.kind == allBelow:
			stay = append(stay, p)
		case s.kind == anyFolders:
			stay = append(stay, p, p+1)
		case s.last:
		case s.kind == anyName:
			l.each = append(l.each, p+1)
		case s.kind == someNames:
			first := byte(0)
			if s.prefix != "" {
				first = s.prefix[0]
			}
			addPlace(&l.some, first, p)
		case s.kind == oneName:
			addPlace(&l.names, s.prefix, p+1)
		}
		if s.last || s.kind != anyFolders && x.steps[p+1].kind == allBelow { // "a/**" matches "a"
			l.addFile(p, s)
		}
	}
	slices.Sort(stay)
	switch stay = slices.Compact(stay); len(stay) {
	case 0:
	case len(places):
		l.stay = l
	default:
		l.stay = x.layer(stay)
	}
	return l
}

func (l *layer) addFile(p int, s *step) {
	switch s.kind {
	case allBelow, anyName, anyFolders:
		l.eachFile = append(l.eachFile, p)
	case oneName:
		addPlace(&l.file, s.prefix, p)
	case someNames:
		if ext := s.ext(); ext != "" {
			addPlace(&l.ext, ext, p)
		} else {
			l.someFile = append(l.someFile, p)
		}
	}
}

func addPlace[K comparable](m *map[K][]int, key K, p int) {
	if *m == nil {
		*m = make(map[K][]int)
	}
	(*m)[key] = append((*m)[key], p)
}

// numbersKey makes a map's key of numbers, good until the next call.
func (x *Index) numbersKey(numbers []int) []byte {
	x.key = x.key[:0]
	for _, n := range numbers {
		x.key = append(strconv.AppendInt(x.key, int64(n), 36), ' ')
	}
	return x.key
}
