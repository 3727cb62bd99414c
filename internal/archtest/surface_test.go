package archtest

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestNoInternalTypeInSignatures: what other modules may import mentions only
// types that they may import, too.
func TestNoInternalTypeInSignatures(t *testing.T) {
	exports := map[string]string{} // import path: file with what the compiler exported
	var public []string
	for _, p := range list(t, "-export", "-deps", "./...") {
		exports[p.ImportPath] = p.Export
		if name := p.name(); name != p.ImportPath && !within(name, "internal") && !within(name, "cmd") && len(p.GoFiles) > 0 {
			public = append(public, p.ImportPath)
		}
	}
	compiled := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})
	if !slices.Contains(public, module+"/key") {
		t.Fatalf("looked only at %q", public)
	}
	for _, path := range public {
		p, err := compiled.Import(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, leak := range leaks(p) {
			t.Errorf("%s.%s mentions the internal type %s", p.Name(), leak.where, leak.what)
		}
	}
}

// TestLeaks keeps the check above able to fail.
func TestLeaks(t *testing.T) {
	inner := check(t, module+"/internal/x", "package x; type T struct{}; type I interface{ M() }", nil)
	outer := check(t, module+"/outer", `package outer
import "`+module+`/internal/x"
type Alias = x.T
type hidden struct{ F chan map[string][]*x.T }
func (hidden) M(func() [2]x.T) {}
func New() (fine int, _ hidden) { return }
type List[E any] []E
var Generic List[x.T]
type Embeds struct{ x.I }
type Asks interface{ Ask(...x.T) }

var inside x.T
type Fine struct{ f x.T }
func (Fine) m(x.T) {}
type FineToo x.T // a type of its own
func FineAsWell() *Fine { _ = inside; return nil }
`, inner)
	want := []string{"Alias", "Asks.Ask", "Embeds.I", "Generic", "New.F", "hidden.M"}
	var got []string
	for _, leak := range leaks(outer) {
		got = append(got, leak.where)
	}
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

// check type-checks a package that imports at most one other.
func check(t *testing.T, path, source string, imported *types.Package) *types.Package {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	config := types.Config{Importer: one{imported}}
	p, err := config.Check(path, fset, []*ast.File{file}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// one is an importer of one package.
type one struct{ p *types.Package }

func (o one) Import(string) (*types.Package, error) { return o.p, nil }

// leak is an exported place that has a type of an internal package.
type leak struct {
	where string // "Client.Dial"
	what  types.Type
}

// leaks finds the leaks of a package: through all that an importer can name or
// be given, also values of types without an exported name.
func leaks(p *types.Package) []leak {
	w := walk{home: p, seen: map[types.Type]bool{}}
	for _, name := range p.Scope().Names() {
		if token.IsExported(name) {
			w.typ(p.Scope().Lookup(name).Type(), name)
		}
	}
	return w.found
}

type walk struct {
	home  *types.Package
	seen  map[types.Type]bool
	found []leak
}

// typ looks at a type found at a place.
func (w *walk) typ(t types.Type, where string) {
	switch t := t.(type) {
	case *types.Alias:
		w.typ(types.Unalias(t), where)
	case *types.Named:
		w.named(t, where)
	case *types.Pointer:
		w.typ(t.Elem(), where)
	case *types.Slice:
		w.typ(t.Elem(), where)
	case *types.Array:
		w.typ(t.Elem(), where)
	case *types.Chan:
		w.typ(t.Elem(), where)
	case *types.Map:
		w.typ(t.Key(), where)
		w.typ(t.Elem(), where)
	case *types.Signature:
		for v := range t.Params().Variables() {
			w.typ(v.Type(), where)
		}
		for v := range t.Results().Variables() {
			w.typ(v.Type(), where)
		}
	case *types.Struct:
		for f := range t.Fields() {
			if f.Exported() {
				w.typ(f.Type(), where+"."+f.Name())
			}
		}
	case *types.Interface:
		for m := range t.Methods() {
			if m.Exported() {
				w.typ(m.Type(), where+"."+m.Name())
			}
		}
	}
}

// named judges a type with a name, and looks into it when it is one of home's.
func (w *walk) named(t *types.Named, where string) {
	for a := range t.TypeArgs().Types() {
		w.typ(a, where)
	}
	p := t.Obj().Pkg()
	if p != nil && strings.HasPrefix(p.Path(), module+"/internal/") {
		w.found = append(w.found, leak{where, t})
	}
	if p != w.home || w.seen[t] {
		return
	}
	w.seen[t] = true
	w.typ(t.Underlying(), where)
	for m := range t.Methods() {
		if m.Exported() {
			w.typ(m.Type(), t.Obj().Name()+"."+m.Name())
		}
	}
}
