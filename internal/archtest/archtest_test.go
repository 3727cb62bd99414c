package archtest

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

var update = flag.Bool("update", false, "rewrite the table in docs/architecture.md")

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath, Dir      string
	Export               string // with -export
	GoFiles, TestGoFiles []string
	XTestGoFiles         []string
	Imports, TestImports []string
	XTestImports         []string
	Module               *struct{ Path string }
}

func (p pkg) name() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,Export,GoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports,Module"}, args...)...)
	cmd.Dir = testenv.Root()
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) == 0 {
		t.Fatal("go list found no package")
	}
	return all
}

// level is the index of a package's layer, or -1.
func level(name string) int {
	return slices.IndexFunc(layers, func(l layer) bool { return slices.Contains(l.packages, name) })
}

func TestImportsGoDown(t *testing.T) {
	for _, p := range list(t, "./...") {
		if slices.Contains(kits, p.name()) || len(p.GoFiles) == 0 {
			continue
		}
		mine := level(p.name())
		if mine < 0 {
			t.Errorf("package %s stands in no layer: add it to table.go", p.name())
			continue
		}
		for _, imported := range p.Imports {
			name, ours := strings.CutPrefix(imported, module+"/")
			if !ours {
				continue
			}
			switch theirs := level(name); {
			case slices.Contains(kits, name):
				t.Errorf("%s imports the test kit %s", p.name(), name)
			case theirs > mine:
				t.Errorf("%s (layer %s) imports upwards: %s", p.name(), layers[mine].name, name)
			case theirs == mine && mine > 0:
				t.Errorf("%s imports its sibling %s", p.name(), name)
			}
		}
	}
}

func TestOneDoorPerLibrary(t *testing.T) {
	for _, p := range list(t, "./...") {
		for _, imported := range p.Imports {
			for library, allowed := range doors {
				if within(imported, library) && !slices.Contains(allowed, p.name()) {
					t.Errorf("%s imports %s, whose only doors are %v", p.name(), imported, allowed)
				}
			}
		}
	}
}

func TestForbidden(t *testing.T) {
	for name, banned := range forbidden {
		for _, p := range list(t, "-deps", module+"/"+name) {
			if slices.Contains(banned, p.name()) {
				t.Errorf("%s links %s, which is forbidden to it", name, p.name())
			}
		}
	}
}

// within says whether a package is the library or stands below it.
func within(pkg, library string) bool {
	return pkg == library || strings.HasPrefix(pkg, library+"/")
}

// TestTablesNameWhatExists fails when a rule speaks of a package or library that
// is gone: such a rule would guard nothing.
func TestTablesNameWhatExists(t *testing.T) {
	ours := map[string]bool{}
	imports := map[string][]string{} // not those of tests
	imported := map[string]bool{}
	for _, p := range list(t, "./...") {
		ours[p.name()] = true
		imports[p.name()] = p.Imports
		for _, i := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			imported[i] = true
		}
	}
	for _, l := range layers {
		for _, name := range l.packages {
			if !ours[name] {
				t.Errorf("layer %q names the missing package %s", l.name, name)
			}
		}
	}
	for _, name := range kits {
		if !ours[name] {
			t.Errorf("the list of kits names the missing package %s", name)
		}
	}
	for name, banned := range forbidden {
		for _, name := range append(banned, name) {
			if !ours[name] {
				t.Errorf("the table of what is forbidden names the missing package %s", name)
			}
		}
	}
	for library, allowed := range doors {
		found := false
		for i := range imported {
			found = found || within(i, library)
		}
		if !found {
			t.Errorf("nobody imports %s: remove its door", library)
		}
		for _, name := range allowed {
			if !slices.ContainsFunc(imports[name], func(i string) bool { return within(i, library) }) {
				t.Errorf("the door to %s is open to %s, which does not import it", library, name)
			}
		}
	}
}

func TestDaemonLinksOnlyWhatItMay(t *testing.T) {
	why := map[string][]string{} // module: packages of it
	for _, p := range list(t, "-deps", "./cmd/sealsmith-agent") {
		if p.Module != nil && p.Module.Path != module {
			why[p.Module.Path] = append(why[p.Module.Path], p.ImportPath)
		}
	}
	for path, packages := range why {
		if !slices.Contains(daemonModules, path) {
			t.Errorf("sealsmith-agent links the module %s:\n%s", path, importPath(t, packages[0]))
		}
	}
	for _, path := range daemonModules {
		if len(why[path]) == 0 {
			t.Errorf("the allow-list names %s, which the daemon does not link", path)
		}
	}
}

// importPath explains how the daemon comes to import a package.
func importPath(t *testing.T, target string) string {
	t.Helper()
	cmd := exec.Command("go", "mod", "why", target)
	cmd.Dir = testenv.Root()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s (%v)", target, err)
	}
	return string(out)
}

// TestDocumented: every package says in its doc.go what it is and whom it trusts;
// every exported name says what it does.
func TestDocumented(t *testing.T) {
	for _, p := range list(t, "./...") {
		if len(p.GoFiles) == 0 {
			continue
		}
		fset := token.NewFileSet()
		var files []*ast.File
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
			if (f.Doc != nil) != (name == "doc.go") {
				t.Errorf("%s/%s: the package comment belongs into doc.go, and only there", p.name(), name)
			}
		}
		d, err := doc.NewFromFiles(fset, files, p.ImportPath)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(d.Doc, "# Trust") {
			t.Errorf("package %s has no trust paragraph (a heading \"# Trust\" in its package comment)", p.name())
		}
		for _, name := range undocumented(d) {
			t.Errorf("%s.%s is exported and not documented", p.name(), name)
		}
	}
}

// undocumented lists the exported names without a comment.
func undocumented(d *doc.Package) []string {
	var names []string
	missing := func(name, text string) {
		if text == "" && token.IsExported(name[strings.LastIndex(name, ".")+1:]) {
			names = append(names, name)
		}
	}
	values := func(list []*doc.Value) {
		for _, v := range list {
			if v.Doc != "" {
				continue // a comment on the group speaks for all
			}
			for _, spec := range v.Decl.Specs {
				spec := spec.(*ast.ValueSpec)
				for _, name := range spec.Names {
					missing(name.Name, spec.Doc.Text()+spec.Comment.Text())
				}
			}
		}
	}
	funcs := func(prefix string, list []*doc.Func) {
		for _, f := range list {
			missing(prefix+f.Name, f.Doc)
		}
	}
	values(d.Consts)
	values(d.Vars)
	funcs("", d.Funcs)
	for _, typ := range d.Types {
		missing(typ.Name, typ.Doc)
		values(typ.Consts)
		values(typ.Vars)
		funcs("", typ.Funcs)
		if token.IsExported(typ.Name) {
			funcs(typ.Name+".", typ.Methods)
		}
	}
	return names
}

func TestFilesAreShort(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range list(t, "./...") {
		for _, name := range p.GoFiles {
			path := filepath.Join(p.Dir, name)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			lines := bytes.Count(data, []byte("\n"))
			short := filepath.Join(p.name(), name)
			if _, excused := longFiles[short]; excused {
				seen[short] = lines > maxLines
				continue
			}
			if lines > maxLines {
				t.Errorf("%s has %d lines, over %d", short, lines, maxLines)
			}
		}
	}
	for name := range longFiles {
		if !seen[name] {
			t.Errorf("%s is excused as a long file and is not one", name)
		}
	}
}

// TestArchitectureDocument keeps the printed table equal to the enforced one.
func TestArchitectureDocument(t *testing.T) {
	const begin, end = "<!-- layers: begin -->\n", "<!-- layers: end -->"
	path := filepath.Join(testenv.Root(), "docs", "architecture.md")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no marks %q and %q", path, begin, end)
	}
	var table strings.Builder
	table.WriteString("| layer | packages |\n|---|---|\n")
	for _, l := range slices.Backward(layers) {
		fmt.Fprintf(&table, "| %s | `%s` |\n", l.name, strings.Join(l.packages, "` `"))
	}
	want := before + begin + table.String() + end + after
	if string(data) == want {
		return
	}
	if !*update {
		t.Fatal("the table of layers in docs/architecture.md is stale; run: go test ./internal/archtest -update")
	}
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}
