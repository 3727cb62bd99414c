package gitmeta

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// Meta is what git knows of a file.
type Meta struct {
	// Commit is the one that is checked out: 40 or 64 digits of lower-case
	// hexadecimal.
	Commit string
	// Tags are the names of all tags on the commit, as git sorts them.
	Tags []string
}

// ErrChanged is wrapped if the file is not as it was committed.
var ErrChanged = errors.New("not as it was committed")

var objectID = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// File asks git about a file in a checkout, whose bytes are data: those that count,
// for the file may change at any time. They must be those of the commit, byte for byte.
func File(ctx context.Context, path string, data []byte) (*Meta, error) {
	ctx, cancel := context.WithTimeout(ctx, limits.GitTime)
	defer cancel()
	g, name, err := newGit(path)
	if err != nil {
		return nil, err
	}
	commit, err := g.run(ctx, "rev-parse", "--verify", "HEAD^{commit}")
	if err != nil {
		return nil, fmt.Errorf("which commit is checked out: %w", err)
	}
	if !objectID.MatchString(commit) {
		return nil, fmt.Errorf("git says that the commit is %.80q", commit)
	}
	committed, err := g.run(ctx, "rev-parse", commit+":./"+name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChanged, err)
	}
	if committed != blobID(commit, data) {
		return nil, fmt.Errorf("%.200q: %w", path, ErrChanged)
	}
	tags, err := g.run(ctx, "for-each-ref", "--points-at="+commit, "--format=%(refname:lstrip=2)", "refs/tags")
	if err != nil {
		return nil, err
	}
	return &Meta{commit, strings.Fields(tags)}, nil
}

// blobID is the name that git gives to the content of a file, in a repository that
// has such commits.
func blobID(commit string, data []byte) string {
	var h hash.Hash = sha1.New()
	if len(commit) == hex.EncodedLen(sha256.Size) {
		h = sha256.New()
	}
	fmt.Fprintf(h, "blob %d\x00", len(data))
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil))
}

// git runs the program in a folder.
type git struct {
	program, dir string
}

// newGit finds the folder in which to ask about a file, and the file's name there.
// With GIT_DIR, git takes the folder that it is run in for the top of the checkout, so
// that must be the person's.
func newGit(path string) (g git, name string, err error) {
	if g.program, err = exec.LookPath("git"); err != nil {
		return g, "", fmt.Errorf("git cannot be found: %w", err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return g, "", err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return g, "", err
	}
	if os.Getenv("GIT_DIR") == "" {
		return git{g.program, filepath.Dir(path)}, filepath.Base(path), nil
	}
	if g.dir, err = os.Getwd(); err != nil {
		return g, "", err
	}
	if g.dir, err = filepath.EvalSymlinks(g.dir); err != nil {
		return g, "", err
	}
	name, err = filepath.Rel(g.dir, path)
	return g, filepath.ToSlash(name), err
}

// run returns what git printed, without the last line feed.
func (g git) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, g.program, append([]string{
		"--no-pager",
		"-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null",
		"-c", "safe.bareRepository=explicit", // a folder is no repository for having files of such names
	}, args...)...)
	cmd.Dir = g.dir
	cmd.Env = append(os.Environ(),
		"LC_ALL=C", "GIT_TERMINAL_PROMPT=0", "GIT_OPTIONAL_LOCKS=0",
		"GIT_NO_REPLACE_OBJECTS=1",                       // what is committed, and nothing in its place
		"GIT_NO_LAZY_FETCH=1", "GIT_ALLOW_PROTOCOL=none") // no network, no remote helper
	var stdout, stderr capped
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = limits.GitWait
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("git %s: no answer: %w", args[0], ctx.Err())
	case err != nil:
		return "", fmt.Errorf("git says: %.200q", complaint(stderr.String(), err))
	}
	return strings.TrimSuffix(stdout.String(), "\n"), nil
}

// complaint is the first line of git's, or why it could not be run.
func complaint(stderr string, err error) string {
	first, _, _ := strings.Cut(stderr, "\n")
	if first = strings.TrimPrefix(first, "fatal: "); first != "" {
		return first
	}
	return err.Error()
}

// capped keeps a bounded output; more of it is an error.
type capped struct{ strings.Builder }

// Write implements io.Writer.
func (c *capped) Write(p []byte) (int, error) {
	if c.Len()+len(p) > limits.GitOutput {
		return 0, fmt.Errorf("more than %d bytes", limits.GitOutput)
	}
	return c.Builder.Write(p)
}
