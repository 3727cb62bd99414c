package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

var (
	fences = regexp.MustCompile("(?ms)^```.*?^```$")
	quoted = regexp.MustCompile("`([^`\n]+)`")
)

// TestDocumentsNameWhatExists: a path in a document leads somewhere.
func TestDocumentsNameWhatExists(t *testing.T) {
	used := map[string]bool{}
	for _, pattern := range []string{"README.md", "docs/*.md", "docs/spec/*.md"} {
		for _, document := range testenv.Glob(t, filepath.Join(testenv.Root(), pattern)) {
			text, err := os.ReadFile(document)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range quoted.FindAllSubmatch(fences.ReplaceAll(text, nil), -1) {
				path := string(match[1])
				if !looksLikePath(path) {
					continue
				}
				if i := slices.IndexFunc(notPaths, func(prefix string) bool { return strings.HasPrefix(path, prefix) }); i >= 0 {
					used[notPaths[i]] = true
					continue
				}
				found, err := filepath.Glob(filepath.Join(testenv.Root(), path))
				if err != nil || len(found) == 0 {
					t.Errorf("%s names %s, which does not exist", document, path)
				}
			}
		}
	}
	for _, prefix := range notPaths {
		if !used[prefix] {
			t.Errorf("no document has a text like %s any more: remove it from notPaths", prefix)
		}
	}
}

// looksLikePath tells a file or package of this repository from the other words
// that documents quote: commands, patterns with placeholders, the system's and
// the user's files.
func looksLikePath(s string) bool {
	if strings.ContainsAny(s, " <") || strings.Contains(s, "NAME") || strings.ContainsAny(s[:1], "/$~") {
		return false
	}
	return strings.Contains(s, "/") || slices.Contains([]string{".go", ".md", ".yaml", ".txtar"}, filepath.Ext(s))
}
