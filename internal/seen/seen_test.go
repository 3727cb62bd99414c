package seen

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func mark(signer, date string, content byte) Mark {
	return Mark{"sealsmith-bundle", "key " + signer, date, strings.Repeat(fmt.Sprintf("%02x", content), 32)}
}

// release is one by the mark's signer, where others are accepted, too.
func release(m Mark, others ...string) Release {
	return Release{m.Namespace, []string{m.Signer}, others, m.Date, m.SHA256}
}

func TestAdvance(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seen.json")
	step := func(what string, accept bool, want error, r Release) []Mark {
		t.Helper()
		before, _ := os.ReadFile(path)
		known, err := Advance(path, accept, r)
		if fmt.Sprintf("%T", err) != fmt.Sprintf("%T", want) {
			t.Fatalf("%s: %v", what, err)
		}
		if after, _ := os.ReadFile(path); err != nil && string(after) != string(before) {
			t.Errorf("%s: refused, and remembered all the same", what)
		}
		return known
	}
	first, second, bob := mark("a", "2026-04-11", 1), mark("a", "2026-11-20", 2), mark("b", "2026-04-11", 1)
	if known := step("first", false, nil, release(first, "key b")); len(known) != 0 {
		t.Errorf("the first was known: %v", known)
	}
	if known := step("again", false, nil, release(first)); !slices.Equal(known, []Mark{first}) {
		t.Errorf("known: %v", known)
	}
	step("newer", false, nil, release(second))
	step("older", false, &OlderError{}, release(first))
	step("other", false, &OtherError{}, release(mark("a", "2026-11-20", 3)))
	named := release(bob)
	named.Signers = append(named.Signers, "key a")
	step("one of two names is newer", false, &OlderError{}, named)
	step("another who is accepted signed a newer one", false, &OlderError{}, release(bob, "key c", "key a"))
	step("another who is accepted signed one of the day", false, &OtherError{}, release(mark("b", "2026-11-20", 3), "key a"))
	step("another signer", false, nil, release(bob))
	other := first
	other.Namespace = "other@example.org"
	step("another namespace", false, nil, release(other))
	step("accepted", true, nil, release(first))
	step("older is remembered", false, nil, release(first))
	step("and what follows it", false, nil, release(mark("a", "2026-04-12", 4)))
	step("accepted in place of another's", true, nil, release(bob, "key a"))
	if known := step("so that both are older", false, nil, release(bob, "key a")); !slices.Equal(known, []Mark{first, bob}) {
		t.Errorf("known: %v", known)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestOneFile: what is known is the newest of each signer, whatever came in whatever
// order, and the file that says so is one that is read again.
func TestOneFile(t *testing.T) {
	dir := t.TempDir()
	file := 0
	rapid.Check(t, func(t *rapid.T) {
		file++
		path := filepath.Join(dir, fmt.Sprint(file))
		newest := map[string]Mark{}
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			m := mark(rapid.StringMatching(`[abc]`).Draw(t, "signer"),
				rapid.StringMatching(`2026-11-0[1-4]`).Draw(t, "date"), rapid.ByteRange(1, 2).Draw(t, "content"))
			old, known := newest[m.Signer]
			good := !known || m.Date > old.Date || m == old
			if _, err := Advance(path, false, release(m)); (err == nil) != good {
				t.Fatalf("%v after %v: %v", m, old, err)
			}
			if good {
				newest[m.Signer] = m
			}
		}
	})
}

func TestBadMarks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seen.json")
	for what, change := range map[string]func(*Mark){
		"no namespace":         func(m *Mark) { m.Namespace = "" },
		"no signer":            func(m *Mark) { m.Signer = "" },
		"long signer":          func(m *Mark) { m.Signer = strings.Repeat("a", 1000) },
		"unprintable signer":   func(m *Mark) { m.Signer = "identity a\u202eb" },
		"line feed":            func(m *Mark) { m.Signer = "identity a\nb" },
		"no UTF-8":             func(m *Mark) { m.Signer = "identity \xff" },
		"no such day":          func(m *Mark) { m.Date = "2026-02-30" },
		"a time":               func(m *Mark) { m.Date = "2026-02-20T00:00:00Z" },
		"short digest":         func(m *Mark) { m.SHA256 = "00" },
		"digest in upper case": func(m *Mark) { m.SHA256 = strings.Repeat("AB", 32) },
	} {
		m := mark("a", "2026-04-11", 1)
		change(&m)
		if _, err := Advance(path, false, release(m)); err == nil {
			t.Errorf("%s is remembered", what)
		}
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("there is a file")
	}
}

// TestHostileFiles: what we did not write is an error, and stays as it is.
func TestHostileFiles(t *testing.T) {
	good, err := encode([]Mark{mark("a", "2026-04-11", 1), mark("b", "2026-04-11", 1)})
	if err != nil {
		t.Fatal(err)
	}
	swap := func(old, with string) string { return strings.Replace(string(good), old, with, 1) }
	for what, text := range map[string]string{
		"empty":           "",
		"no JSON":         "hello",
		"null":            "null\n",
		"another version": swap(`"version": 1`, `"version": 2`),
		"unknown member":  swap(`"version": 1`, `"version": 1, "x": 1`),
		"member twice":    swap(`"version": 1`, `"version": 1, "version": 1`),
		"other case":      swap(`"version": 1`, `"Version": 1`),
		"signer twice":    swap(`key b`, `key a`),
		"other order":     swap(`key a`, `key c`),
		"no such day":     swap(`2026-04-11`, `2026-04-31`),
		"something after": string(good) + "{}",
		"cut":             string(good[:len(good)-2]),
		"other spaces":    swap("  ", "\t"),
		"control":         swap(`key a`, `key \u001b[2J`),
		"too long":        string(good) + strings.Repeat(" ", 1<<20),
	} {
		path := filepath.Join(t.TempDir(), "seen.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, accept := range []bool{false, true} {
			if _, err := Advance(path, accept, release(mark("a", "2026-04-12", 1))); err == nil || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if now, err := os.ReadFile(path); err != nil || string(now) != text {
			t.Errorf("%s: changed to %q, %v", what, now, err)
		}
	}
}

func TestHostilePlaces(t *testing.T) {
	dir := t.TempDir()
	m := mark("a", "2026-04-11", 1)
	in := func(name string) string { return filepath.Join(dir, name) }
	if _, err := Advance(in("none/seen.json"), false, release(m)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	if err := os.Mkdir(in("folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Advance(in("folder"), false, release(m)); err == nil {
		t.Error("a folder passes")
	}
	if _, err := Advance(in("open"), false, release(m)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("open", in("link")); err != nil {
		t.Fatal(err)
	}
	if known, err := Advance(in("link"), false, release(mark("a", "2026-04-12", 1))); err != nil || len(known) != 1 {
		t.Errorf("through a link: %v, %v", known, err)
	}
	if info, err := os.Lstat(in("link")); err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link is gone: %v, %v", info, err)
	}
	if err := os.Chmod(in("open"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Advance(in("open"), false, release(m)); err == nil || !strings.Contains(err.Error(), "can be written by other users") {
		t.Errorf("a file that others can write: %v", err)
	}
}

// TestTogether: of many processes at once the newest date stays.
func TestTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seen.json")
	var wg sync.WaitGroup
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 16 {
		wg.Go(func() {
			_, err := Advance(path, false, release(mark("a", day.AddDate(0, 0, i).Format(time.DateOnly), 1)))
			if older := (*OlderError)(nil); err != nil && !errors.As(err, &older) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	all, err := read(path)
	if err != nil || len(all) != 1 || all[0].Date != "2026-01-16" {
		t.Errorf("%v, %v", all, err)
	}
}

func FuzzDecode(f *testing.F) {
	good, err := encode([]Mark{mark("a", "2026-04-11", 1), mark("b", "2026-04-11", 1)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := decode(data)
		if err != nil {
			return
		}
		if again, err := encode(all); err != nil || string(again) != string(data) {
			t.Errorf("%q is read and written as %q, %v", data, again, err)
		}
	})
}
