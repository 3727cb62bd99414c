package cli

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/sigtest"
	"github.com/sealsmith/sealsmith/key"
)

var update = flag.Bool("update", false, "make and sign the release in testdata again, with new keys")

// TestNoMutation: whatever is done to a signed release, and be it with files of other
// releases, it is refused as a whole and says of no check that it passed; or it is
// still the same release, by the same signature.
func TestNoMutation(t *testing.T) {
	good, others, v := releases(t)
	rapid.Check(t, func(rt *rapid.T) {
		changed := maps.Clone(good)
		for range rapid.IntRange(1, 3).Draw(rt, "changes") {
			mutate(rt, changed, others)
		}
		if judge(rt, v, t, good, changed) == 0 {
			return
		}
		if _, out, _ := v.verify(t, changed, "--json"); !strings.Contains(out, `"verified": false`) || !strings.Contains(out, `"checks": []`) {
			rt.Fatalf("refused, and printed %s", out)
		}
	})
}

// TestNoMixture: no files of two releases make one, in any combination.
func TestNoMixture(t *testing.T) {
	good, others, v := releases(t)
	// The most that can be said of the same certificates, and is not computed anew.
	edited := maps.Clone(good)
	edited[bundle.IndexName] = bytes.ReplaceAll(good[bundle.IndexName], []byte(`"current"`), []byte(`"historic"`))
	names := slices.Sorted(maps.Keys(good))
	for i, other := range append(others, edited) {
		for taken := range 1 << len(names) {
			mixed := maps.Clone(good)
			for bit, name := range names {
				if taken&(1<<bit) != 0 {
					mixed[name] = other[name]
				}
			}
			if status := judge(t, v, t, good, mixed); taken == 0 && status != 0 {
				t.Fatalf("release %d: the good one is refused", i)
			}
		}
	}
}

// releases are a good one, which was verified once, and some that resemble it.
func releases(t *testing.T) (good files, others []files, v *verifying) {
	t.Helper()
	ca := newTestCA(t)
	k, stranger := sigtest.NewKey(t, key.P256), sigtest.NewKey(t, key.P256)
	good = ca.release(t, k, bundleNamespace, "2026-04-11")
	others = []files{
		ca.release(t, k, bundleNamespace, "2026-04-10"), ca.release(t, k, "other@example.org", "2026-04-11"),
		ca.release(t, stranger, bundleNamespace, "2026-04-11"), ca.release(t, stranger, bundleNamespace, "2026-04-12"),
	}
	// A Sigstore bundle names no namespace: both are as good.
	others[1][bundle.SumsName+sigstoreEnding] = good[bundle.SumsName+sigstoreEnding]
	v = newVerifying(t, sigtest.PEM(t, k.Info().Public))
	if status, _, errs := v.verify(t, good); status != 0 {
		t.Fatal(errs)
	}
	return good, others, v
}

// mutate changes one thing in a folder.
func mutate(t *rapid.T, f files, others []files) {
	file := rapid.SampledFrom(slices.Sorted(maps.Keys(others[0])))
	extra := rapid.SampledFrom([]string{"README", ".hidden", "sha256sums", "SHA256SUMS.asc", "SHA256SUMS.bob.sig", "SHA256SUMS.bob.sigstore.json", "SHA256SUMS..sig"})
	wherever := rapid.OneOf(file, extra)
	name := file.Draw(t, "name")
	data := f[name]
	place := func(label string) int { return rapid.IntRange(0, len(data)).Draw(t, label) }
	other := func() files { return others[rapid.IntRange(0, len(others)-1).Draw(t, "of release")] }
	switch rapid.SampledFrom([]string{"flip", "cut", "insert", "swap", "rename", "copy", "remove", "replace", "replace all"}).Draw(t, "change") {
	case "flip":
		if len(data) > 0 {
			data = bytes.Clone(data)
			data[place("at")%len(data)] ^= rapid.ByteRange(1, 255).Draw(t, "by")
			f[name] = data
		}
	case "cut":
		from, to := place("from"), place("to")
		f[name] = slices.Concat(data[:min(from, to)], data[max(from, to):])
	case "insert":
		at := place("at")
		more := rapid.OneOf(rapid.SliceOfN(rapid.Byte(), 1, 8), rapid.SampledFrom([][]byte{[]byte("\n"), []byte("\r"), []byte(" "), data})).Draw(t, "more")
		f[name] = slices.Concat(data[:at], more, data[at:])
	case "swap":
		with := wherever.Draw(t, "with")
		f[name], f[with] = f[with], f[name]
	case "rename":
		delete(f, name)
		f[wherever.Draw(t, "to")] = data
	case "copy":
		f[wherever.Draw(t, "to")] = data
	case "remove":
		delete(f, name)
	case "replace":
		f[wherever.Draw(t, "to")] = other()[name]
	case "replace all":
		clear(f)
		maps.Copy(f, other())
	}
}

// judge verifies a changed release, says whether the answer is right, and returns the
// exit status.
func judge(t rapid.TB, v *verifying, tb testing.TB, good, changed files) int {
	status, out, errs := v.verify(tb, changed)
	switch {
	case status == 0:
		if what := difference(good, changed, out); what != "" {
			t.Fatalf("accepted: %s\n%s", what, out)
		}
	case status != exitRefused || out != "" || !strings.HasPrefix(errs, "sealsmith: error: "):
		t.Fatalf("status %d\n%s%s", status, out, errs)
	}
	return status
}

// difference says in what an accepted release differs from the good one. It may have
// signatures of others, if they are said to be unchecked; its own may have others'
// names.
func difference(good, accepted files, out string) string {
	for name, data := range good {
		if _, ending := cutSignature(name); ending == "" && !bytes.Equal(accepted[name], data) {
			return name + " was changed"
		}
	}
	signed := map[string]bool{}
	for name, data := range accepted {
		_, ending := cutSignature(name)
		_, known := good[name]
		switch {
		case ending == "" && !known:
			return name + " is not of the release"
		case ending != "" && sameSignature(ending, data, good[bundle.SumsName+ending]):
			signed[ending] = true
		case ending != "" && !strings.Contains(out, "not checked: "+name+"\n"):
			return name + " was not checked"
		}
	}
	if len(signed) < 2 {
		return "without the good signatures"
	}
	return ""
}

// sameSignature: an SSHSIG may lack its last line end, and JSON has many encodings.
func sameSignature(ending string, a, b []byte) bool {
	if ending == sshsigEnding {
		return bytes.Equal(bytes.TrimSuffix(a, []byte("\n")), bytes.TrimSuffix(b, []byte("\n")))
	}
	var pa, pb protobundle.Bundle
	return protojson.Unmarshal(a, &pa) == nil && protojson.Unmarshal(b, &pb) == nil && proto.Equal(&pa, &pb)
}

// vector is a release by a key that is gone: one that was good once stays good.
const vector = "testdata/release"

func loadVector(t testing.TB) (publicKey []byte, f files) {
	t.Helper()
	if *update {
		k := sigtest.NewKey(t, key.P256)
		newTestCA(t).release(t, k, bundleNamespace, "2026-04-11").write(t, vector)
		if err := os.WriteFile(vector+".pub", sigtest.PEM(t, k.Info().Public), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	publicKey, err := os.ReadFile(vector + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(vector)
	if err != nil {
		t.Fatal(err)
	}
	f = files{}
	for _, e := range entries {
		if f[e.Name()], err = os.ReadFile(filepath.Join(vector, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return publicKey, f
}

func TestReleaseVector(t *testing.T) {
	publicKey, f := loadVector(t)
	if status, out, errs := newVerifying(t, publicKey).verify(t, f); status != 0 || !strings.Contains(out, "\nverified: ") {
		t.Error(status, errs)
	}
}

// FuzzVerifyRelease changes the files of a release; an empty one is not there.
func FuzzVerifyRelease(f *testing.F) {
	publicKey, good := loadVector(f)
	names := slices.Sorted(maps.Keys(good))
	if len(names) != 6 {
		f.Fatal(names)
	}
	v := newVerifying(f, publicKey)
	f.Add(good[names[0]], good[names[1]], good[names[2]], good[names[3]], good[names[4]], good[names[5]])
	f.Fuzz(func(t *testing.T, a, b, c, d, e, g []byte) {
		changed := files{}
		for i, data := range [][]byte{a, b, c, d, e, g} {
			if len(data) > 0 {
				changed[names[i]] = data
			}
		}
		judge(t, v, t, good, changed)
	})
}
