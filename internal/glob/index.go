package glob

import (
	"slices"
	"strconv"
	"strings"
	"sync"
)

// An Index finds which of many globs match a path. Its cost hardly grows with the number
// of globs. Its answer is always the same as that of asking each glob.
//
// It is an automaton that reads a path folder by folder. It builds its states only when a
// path needs them:
//
//   - A place is a segment of one glob that the index waits for; see step.
//   - A folder is the state after reading a directory: the places that it has reached.
//     They are kept in layers. A "**" keeps its places for all folders below, and a layer
//     that is shared needn't be sorted again there.
//   - A file's name is looked up among the names and extensions that its folder waits
//     for. That gives candidates. Where the automaton can't be sure, it asks the globs.
//
// Several goroutines may use an Index. They take turns, because reading a path changes
// it.
type Index struct {
	globs []*Glob           // by the number that Match reports
	sure  []bool            // by glob: for a path that git allows, a candidate matches
	steps []step            // the rows of all globs, one after the other
	exts  map[string]string // the extensions that steps name, each with itself as value

	mu      sync.Mutex         // guards all that follows
	root    *folder            // the state before the first segment
	folders map[string]*folder // by the ids of their layers
	layers  map[string]*layer  // by their places
	size    int                // entries in the maps of the index and its folders; see maxIndexSize
	dir     string             // the directory that was read last, …
	way     []stop             // … and the folders on the way to it, from the top
	key     []byte             // scratch of numbersKey, …
	places  []int              // … of enter, …
	own     []int              // … of join, …
	joined  []*layer           // … and of beyond
	work    *Work              // of the path that is being matched; nil between calls of Match
}

// Bounds on memory. A glob whose steps don't fit is a candidate for every path. An index
// with more than maxIndexSize entries forgets all but its steps before it reads the next
// path. While it reads one path, it may grow to twice that.
const (
	maxIndexSteps = 1 << 16
	maxIndexSize  = 1 << 18 // in the unit of Index.size
)

// A stop is the state of an index after it has read a directory up to the byte end. A
// stop before the first segment has end -1.
type stop struct {
	end    int // where the segment ends: at a slash, or at the end of the directory
	folder *folder
	odd    bool // a segment so far is empty, which git does not allow
}

// A folder is what one or many directories mean to the globs. A folder without layers is
// a dead end: nothing below it matches.
type folder struct {
	layers []*layer
	asks   bool               // some names lead elsewhere than the others: enter has to look at the name
	tries  bool               // … and may have to compare it with wildcards
	names  bool               // some files are waited for by name
	next   map[string]*folder // by name, as far as enter has found out
	other  *folder            // for the names that no place waits for; nil: not made yet
	answer map[string]*answer // by a file's extension; "" is every extension that no step names
	ext    string             // the last extension asked for …
	last   *answer            // … and its answer
}

// An answer is what the files with one extension match in a folder.
type answer struct {
	globs []int // that match each of these files; ascending
	some  []int // places whose steps must be compared with the file's name
}

// A layer is a set of places that were reached together. There is only one layer with the
// same places.
type layer struct {
	id     int    // folders are found by the ids of their layers
	places []int  // ascending
	stay   *layer // the places that every folder's name leads back to, as "**" does; nil: none

	// The places that the names of folders lead to.
	names map[string][]int // by name
	some  map[byte][]int   // places to compare with the name, by the first byte of their prefix; 0: no prefix
	each  []int            // every name leads there

	// The places that take a file.
	file     map[string][]int // by name
	ext      map[string][]int // by extension, with its dot
	someFile []int            // to compare with the name
	eachFile []int            // every file fits
}

// NewIndex makes an index of globs. Match reports each by its position in globs, from 0.
func NewIndex(globs []*Glob) *Index {
	x := &Index{globs: globs, exts: make(map[string]string), steps: make([]step, 0, 5*len(globs))}
	for i, g := range globs {
		// A glob that doesn't fit becomes a candidate for every path, and sure is false
		// for it, so that find asks the glob itself.
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

// Match appends to dst the numbers of the globs that match path, ascending. Once the work
// has run out, the answer means nothing. When a path's folder is known and no glob
// matches the path, Match allocates nothing.
func (x *Index) Match(path string, dst []int, w *Work) []int {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.work = w
	dst = x.find(path, dst)
	x.work = nil
	return dst
}

// find is Match while x.mu is held. It gathers candidates and asks their globs where the
// automaton isn't sure: for globs that aren't exact, and for paths that git would not
// allow (odd), about which sure says nothing.
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

// ask matches each glob in turn. It is for a path whose directory would make the index
// too large.
func (x *Index) ask(path string, dst []int) []int {
	for i, g := range x.globs {
		if g.Match(path, x.work) {
			dst = append(dst, i)
		}
	}
	return dst
}

// candidates appends the globs that may match the file base in the folder f, ascending
// and each once. ext is the extension of base. A glob can be found more than once, by
// several combinations.
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

// answer finds or makes what f says of files with an extension. Most files of a folder
// have the same one, so the last answer is at hand. It is kept only for an extension that
// steps name: own then belongs to the index. A part of the path would keep the path in
// memory.
func (x *Index) answer(f *folder, ext string) *answer {
	if f.last != nil && ext == f.ext {
		return f.last
	}
	own, known := x.exts[ext] // "" if no step names it
	a := f.answer[own]
	if a == nil {
		a = x.newAnswer(f, own)
	}
	if known {
		f.ext, f.last = own, a
	}
	return a
}

// newAnswer makes the answer of f for an extension that steps name, or "" for all others,
// and stores it. A step that is only "*" and the extension takes each of these files. All
// other steps have to be compared with the name.
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

// folder returns the folder of a directory, and whether the directory has an empty
// segment. f is nil if the index would hold too much. It goes on from where the last
// directory was the same, and stops early at a dead end.
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
		// At least one segment is read, so x.way is not empty after the loop, and the
		// shortcut at the top works for the next path.
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

// shared returns the last stop that dir has in common with the directory before, and cuts
// x.way there. That saves most of the reading, as git lists the paths below a folder one
// after the other.
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

// enter finds or makes the folder that the name segment leads to in f. All names that no
// place waits for lead to the same one, f.other.
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
	// Without Clone the key would keep the whole path in memory.
	f.next[strings.Clone(segment)] = next
	x.size++
	return next
}

// fitting appends the next place of each of some whose step fits segment.
func (x *Index) fitting(some []int, segment string, places []int) []int {
	for _, p := range some {
		if s := &x.steps[p]; x.work.Take(s.cost(segment)) && s.fits(segment) {
			places = append(places, p+1)
		}
	}
	return places
}

// beyond returns the folder in f for a name that leads to places. The places that every
// name leads to are added: those of l.each, and the layers that stay.
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

// forget leaves nothing but the steps and the root, as in a new index. Its caller holds
// x.mu, or has the index for itself. Layers get the same ids again, so folders from
// before must not be used any more; an empty way makes sure of that.
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
	x.size = 0 // the root is bounded by maxIndexSteps
}

// join returns the one folder with these layers, and with one more for the places that
// none of them has. A place at anyFolders brings the next place too, since "**" may take
// no folder. There always is a next one: anyFolders never ends a row.
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
	// own is free again: layer has copied what it keeps.
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

// layer returns the one layer with these places, which must be ascending and distinct. It
// sorts them by how the name of a folder or a file is looked up among them.
func (x *Index) layer(places []int) *layer {
	k := x.numbersKey(places)
	if l := x.layers[string(k)]; l != nil {
		return l
	}
	x.work.Take(30 * len(places))
	places = slices.Clone(places)
	l := &layer{id: len(x.layers), places: places}
	// The layer has to be stored before it makes the layer that stays: that takes the
	// next id, and numbersKey overwrites k.
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
		// s.last comes first: after the last step, p+1 is out of range or of another
		// glob.
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

// addFile notes that the place p can take the name of a file, and how to look that up.
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

// addPlace appends p to the list at key, and makes the map if there is none. Most layers
// need few of their maps.
func addPlace[K comparable](m *map[K][]int, key K, p int) {
	if *m == nil {
		*m = make(map[K][]int)
	}
	(*m)[key] = append((*m)[key], p)
}

// numbersKey makes the key of a map from numbers. The bytes are valid until the next
// call. string(k) does not allocate to look a key up, only to store it.
func (x *Index) numbersKey(numbers []int) []byte {
	x.key = x.key[:0]
	for _, n := range numbers {
		x.key = append(strconv.AppendInt(x.key, int64(n), 36), ' ')
	}
	return x.key
}
