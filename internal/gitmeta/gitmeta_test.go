package gitmeta

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

const content = "a catalog\n"

// program is git; it is looked for before a test leaves the module.
var program string

// repository makes a repository with one commit of sub/list.yaml, and tags on it.
func repository(t *testing.T, options ...string) string {
	t.Helper()
	program = testenv.Need(t, testenv.Git)
	for _, name := range []string{"GIT_DIR", "GIT_WORK_TREE"} {
		t.Setenv(name, "")
		os.Unsetenv(name)
	}
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	t.Setenv("GIT_CONFIG_SYSTEM", os.DevNull)
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	dir := t.TempDir()
	run(t, dir, append([]string{"init", "-q", "-b", "main"}, options...)...)
	run(t, dir, "config", "user.name", "me")
	run(t, dir, "config", "user.email", "me@example.org")
	write(t, filepath.Join(dir, "sub", "list.yaml"), content)
	run(t, dir, "add", ".")
	run(t, dir, "commit", "-q", "-m", "list")
	run(t, dir, "tag", "2026-04-11")
	run(t, dir, "tag", "-a", "-m", "annotated", "v1.0.0")
	return dir
}

func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestFile: every layout gives the commit and both kinds of tags.
func TestFile(t *testing.T) {
	for name, layout := range map[string]func(t *testing.T) (top string){
		"plain":   func(t *testing.T) string { return repository(t) },
		"SHA-256": func(t *testing.T) string { return repository(t, "--object-format=sha256") },
		"packed references": func(t *testing.T) string {
			dir := repository(t)
			run(t, dir, "pack-refs", "--all", "--prune")
			run(t, dir, "gc", "-q")
			return dir
		},
		"clone": func(t *testing.T) string {
			dir := filepath.Join(t.TempDir(), "clone")
			run(t, ".", "clone", "-q", repository(t), dir)
			return dir
		},
		"clone without history": func(t *testing.T) string {
			dir := filepath.Join(t.TempDir(), "clone")
			run(t, ".", "clone", "-q", "--depth=1", "file://"+repository(t), dir)
			run(t, dir, "fetch", "-q", "--tags", "--depth=1")
			return dir
		},
		"detached": func(t *testing.T) string {
			dir := repository(t)
			write(t, filepath.Join(dir, "more"), "more")
			run(t, dir, "add", ".")
			run(t, dir, "commit", "-q", "-m", "more")
			run(t, dir, "checkout", "-q", "2026-04-11")
			return dir
		},
		"worktree": func(t *testing.T) string {
			dir := filepath.Join(t.TempDir(), "tree")
			run(t, repository(t), "worktree", "add", "-q", dir, "v1.0.0")
			return dir
		},
		"GIT_DIR elsewhere": func(t *testing.T) string {
			dir := repository(t)
			elsewhere := filepath.Join(t.TempDir(), "git")
			if err := os.Rename(filepath.Join(dir, ".git"), elsewhere); err != nil {
				t.Fatal(err)
			}
			t.Setenv("GIT_DIR", elsewhere)
			t.Chdir(dir)
			return dir
		},
		"relative GIT_DIR": func(t *testing.T) string {
			dir := repository(t)
			t.Setenv("GIT_DIR", ".git")
			t.Chdir(dir)
			return dir
		},
		"other changes": func(t *testing.T) string {
			dir := repository(t)
			write(t, filepath.Join(dir, "more"), "more")
			run(t, dir, "add", ".")
			return dir
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := layout(t)
			m, err := File(t.Context(), filepath.Join(dir, "sub", "list.yaml"), []byte(content))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&Meta{run(t, dir, "rev-parse", "HEAD"), []string{"2026-04-11", "v1.0.0"}}, m); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFileWithoutTags(t *testing.T) {
	dir := repository(t)
	write(t, filepath.Join(dir, "more"), "more")
	run(t, dir, "add", ".")
	run(t, dir, "commit", "-q", "-m", "more")
	m, err := File(t.Context(), filepath.Join(dir, "sub", "list.yaml"), []byte(content))
	if err != nil || len(m.Tags) != 0 {
		t.Errorf("got %v, %v", m, err)
	}
}

// TestFileThroughALink asks about the file that it leads to, and relative paths are
// those of the working folder.
func TestFileThroughALink(t *testing.T) {
	dir := repository(t)
	t.Chdir(t.TempDir())
	if err := os.Symlink(filepath.Join(dir, "sub", "list.yaml"), "link.yaml"); err != nil {
		t.Fatal(err)
	}
	if _, err := File(t.Context(), "link.yaml", []byte(content)); err != nil {
		t.Error(err)
	}
}

func TestFileRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(t *testing.T, dir string)
		data    string
		changed bool
		want    string
	}{
		{"other bytes", nil, content + "x", true, "not as it was committed"},
		{"line endings", nil, strings.ReplaceAll(content, "\n", "\r\n"), true, "not as it was committed"},
		{"not committed", func(t *testing.T, dir string) {
			run(t, dir, "rm", "-q", "--cached", "sub/list.yaml")
			run(t, dir, "commit", "-q", "-m", "removed")
		}, content, true, "not in "},
		{"no commit yet", func(t *testing.T, dir string) { run(t, dir, "checkout", "-q", "--orphan", "new") }, content, false, "git says: "},
		{"no repository", func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, ".git")); err != nil {
				t.Fatal(err)
			}
			t.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(dir))
		}, content, false, "git says: \"not a git repository"},
		{"somebody else's", func(t *testing.T, _ string) { t.Setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1") }, content, false, "dubious ownership"},
		{"a way of keeping references that this git does not know", func(t *testing.T, dir string) {
			run(t, dir, "config", "core.repositoryformatversion", "1")
			run(t, dir, "config", "extensions.refstorage", "cloud")
		}, content, false, "git says: "},
		{"what stands in for the commit", func(t *testing.T, dir string) {
			old := run(t, dir, "rev-parse", "HEAD")
			write(t, filepath.Join(dir, "sub", "list.yaml"), content+"x")
			run(t, dir, "commit", "-q", "-a", "-m", "other")
			other := run(t, dir, "rev-parse", "HEAD")
			run(t, dir, "reset", "-q", "--hard", old)
			run(t, dir, "replace", old, other)
		}, content + "x", true, "not as it was committed"},
		{"folder that looks like a repository", func(t *testing.T, dir string) {
			run(t, dir, "init", "-q", "--bare", filepath.Join(dir, "sub"))
		}, content, false, "bare"},
		{"outside of GIT_DIR", func(t *testing.T, dir string) {
			t.Setenv("GIT_DIR", filepath.Join(dir, ".git"))
			t.Chdir(t.TempDir())
		}, content, true, "git says: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := repository(t)
			if c.change != nil {
				c.change(t, dir)
			}
			m, err := File(t.Context(), filepath.Join(dir, "sub", "list.yaml"), []byte(c.data))
			if err == nil {
				t.Fatalf("got %+v", m)
			}
			if !strings.Contains(err.Error(), c.want) || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("error %q has no %q, or several lines", err, c.want)
			}
			if errors.Is(err, ErrChanged) != c.changed {
				t.Errorf("ErrChanged: %v", !c.changed)
			}
		})
	}
}

func TestNoGit(t *testing.T) {
	dir := repository(t)
	t.Setenv("PATH", t.TempDir())
	if _, err := File(t.Context(), filepath.Join(dir, "sub", "list.yaml"), []byte(content)); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestCancelled(t *testing.T) {
	dir := repository(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := File(ctx, filepath.Join(dir, "sub", "list.yaml"), []byte(content)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestOddAnswers: git on PATH may be a script of the person's own.
func TestOddAnswers(t *testing.T) {
	dir := repository(t)
	for script, want := range map[string]string{
		"echo 0123":                     `git says that the commit is "0123"`,
		"printf '\\033[2J' >&2; exit 1": `git says: "\x1b[2J"`,
		"exit 1":                        `git says: "exit status 1"`,
		"yes":                           "git says: ",
	} {
		path := t.TempDir()
		write(t, filepath.Join(path, "git"), "#!/bin/sh\n"+script+"\n")
		t.Setenv("PATH", path+string(os.PathListSeparator)+os.Getenv("PATH"))
		m, err := File(t.Context(), filepath.Join(dir, "sub", "list.yaml"), []byte(content))
		if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %+v, %v", script, m, err)
		}
	}
}

// TestGitThatLeavesAChild: a program that keeps git's output open is not waited for.
func TestGitThatLeavesAChild(t *testing.T) {
	dir := repository(t)
	path := t.TempDir()
	write(t, filepath.Join(path, "git"), "#!/bin/sh\nsleep 60 &\necho $! > '"+path+"/child'\nwait\n")
	t.Setenv("PATH", path+string(os.PathListSeparator)+os.Getenv("PATH"))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := File(ctx, filepath.Join(dir, "sub", "list.yaml"), []byte(content)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("took %v", took)
	}
	if child, err := os.ReadFile(filepath.Join(path, "child")); err == nil {
		exec.Command("kill", strings.TrimSpace(string(child))).Run()
	}
}

// TestNothingOfTheRepositoryRuns: a checkout from a stranger may be configured to start
// programs.
func TestNothingOfTheRepositoryRuns(t *testing.T) {
	dir := repository(t)
	proof := filepath.Join(t.TempDir(), "proof")
	trap := filepath.Join(dir, "trap")
	write(t, trap, "#!/bin/sh\necho \"$0 $*\" >> '"+proof+"'\n")
	hooks := filepath.Join(dir, "hooks")
	for _, hook := range []string{"post-checkout", "post-index-change", "reference-transaction", "fsmonitor-watchman"} {
		write(t, filepath.Join(hooks, hook), "#!/bin/sh\necho hook >> '"+proof+"'\n")
	}
	write(t, filepath.Join(dir, ".gitattributes"), "* filter=trap diff=trap\n")
	for _, setting := range [][2]string{
		{"core.fsmonitor", trap}, {"core.hooksPath", hooks}, {"core.pager", trap}, {"pager.for-each-ref", trap},
		{"core.sshCommand", trap}, {"filter.trap.clean", trap}, {"filter.trap.smudge", trap}, {"diff.external", trap},
		{"diff.trap.textconv", trap}, {"alias.rev-parse", "!" + trap}, {"alias.for-each-ref", "!" + trap},
		{"core.alternateRefsCommand", trap}, {"credential.helper", trap}, {"core.askPass", trap}, {"gpg.program", trap},
		{"core.gitProxy", trap}, {"remote.origin.url", "ext::" + trap}, {"remote.origin.promisor", "true"}, {"protocol.ext.allow", "always"},
	} {
		run(t, dir, "config", setting[0], setting[1])
	}
	if _, err := File(t.Context(), filepath.Join(dir, "sub", "list.yaml"), []byte(content)); err != nil {
		t.Error(err)
	}
	// Neither when something is missing that a remote helper could fetch.
	tree := run(t, dir, "--no-replace-objects", "rev-parse", "HEAD^{tree}")
	if err := os.Remove(filepath.Join(dir, ".git", "objects", tree[:2], tree[2:])); err != nil {
		t.Fatal(err)
	}
	if _, err := File(t.Context(), filepath.Join(dir, "sub", "list.yaml"), []byte(content)); err == nil {
		t.Error("the tree is missing, and the file was found")
	}
	if text, err := os.ReadFile(proof); err == nil {
		t.Errorf("a program of the repository ran: %s", text)
	}
}
