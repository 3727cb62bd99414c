package verify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/sigtest"
	"github.com/sealsmith/sealsmith/key"
)

func TestParseKeys(t *testing.T) {
	s := signAll(t, key.P256)
	pem := sigtest.PEM(t, s.key.Info().Public)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file []byte
		keys int // 0: refused
	}{
		"PEM":              {pem, 1},
		"two PEM blocks":   {append(bytes.Clone(pem), pem...), 2},
		"Ed25519":          {sigtest.PEM(t, ed), 1},
		"OpenSSH":          {append([]byte("# comment\n"), s.line(t)...), 1},
		"empty":            {nil, 0},
		"comment":          {[]byte("# nothing\n"), 0},
		"junk":             {[]byte("junk"), 0},
		"text before PEM":  {append([]byte("key:\n"), pem...), 0},
		"text behind PEM":  {append(bytes.Clone(pem), "x"...), 0},
		"half a PEM block": {pem[:50], 0},
		"private key":      {bytes.ReplaceAll(pem, []byte("PUBLIC"), []byte("PRIVATE")), 0},
		"certificate":      {bytes.ReplaceAll(pem, []byte("PUBLIC KEY"), []byte("CERTIFICATE")), 0},
		"options":          {append([]byte("restrict "), s.line(t)...), 0},
		"short RSA":        {sigtest.PEM(t, &small.PublicKey), 0},
		"P-224":            {sigtest.PEM(t, &p224.PublicKey), 0},
		"too long":         {append(bytes.Clone(pem), strings.Repeat("\n", 1<<20)...), 0},
	} {
		trust, err := ParseKeys(c.file)
		if (err == nil) != (c.keys > 0) || err == nil && len(trust.keys) != c.keys {
			t.Errorf("%s: %+v, %v", name, trust, err)
		}
	}
	if _, err := ParseKeys(); err == nil {
		t.Error("no file is enough")
	}
}

func TestOutsideFolders(t *testing.T) {
	base := t.TempDir()
	dir, file := filepath.Join(base, "release"), filepath.Join(base, "key")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(file, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := Outside(dir, file); err != nil {
		t.Errorf("empty folder: %v", err)
	}
	for i := range limits.CheckedFolder {
		if err := os.Symlink(file, filepath.Join(dir, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := Outside(dir, file); err != nil {
		t.Errorf("full folder: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	wants(t, "overfull folder", Outside(dir, file), ExtraFile)
}

func TestOutside(t *testing.T) {
	base := t.TempDir()
	in := func(parts ...string) string { return filepath.Join(append([]string{base}, parts...)...) }
	for _, dir := range []string{"release/sub", "keys"} {
		if err := os.MkdirAll(in(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"release/key", "release/sub/key", "keys/key", "keys/key2", "release.key"} {
		if err := os.WriteFile(in(file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		"keys/inside":     "../release/key",
		"keys/absolute":   in("release/key"),
		"keys/twice":      "inside",
		"release/outside": "../keys/key",
		"keys/through":    "../release/outside",
		"keys/dir":        "../release",
		"release/keys":    "../keys",
		"keys/back":       "dir/keys",
		"keys/fine":       "key",
		"renamed":         "release",
		"keys/loop":       "loop",
	} {
		if err := os.Symlink(target, in(link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, pair := range [][2]string{{"release/sub/key", "keys/hard"}, {"keys/key2", "release/sub/key2"}} {
		if err := os.Link(in(pair[0]), in(pair[1])); err != nil {
			t.Fatal(err)
		}
	}
	for path, inside := range map[string]bool{
		"keys/hard":           true,
		"keys/key2":           true,
		"keys/key":            false,
		"keys/fine":           false,
		"release.key":         false,
		"release/../keys/key": false,
		"keys/../keys/key":    false,
		"release/key":         true,
		"release/sub/key":     true,
		"release/sub/../key":  true,
		"keys/../release/key": true,
		"renamed/key":         true,
		"keys/inside":         true,
		"keys/absolute":       true,
		"keys/twice":          true,
		"keys/dir/key":        true,
		"release/outside":     true,
		"keys/through":        true,
		"release/keys/key":    true,
		"keys/back/key":       true,
	} {
		for _, dir := range []string{in("release"), in("renamed"), in("release/sub/..")} {
			err := Outside(dir, base+"/"+path)
			if !inside && err != nil {
				t.Errorf("%s: %v", path, err)
			}
			if inside {
				wants(t, path, err, TrustInside)
			}
		}
	}
	for _, path := range []string{"keys/loop", "keys/missing"} {
		if err := Outside(in("release"), in(path)); err == nil {
			t.Errorf("%s passes", path)
		}
	}
	if err := Outside(in("missing"), in("keys/key")); err == nil {
		t.Error("a missing folder passes")
	}

	t.Run("relative", func(t *testing.T) {
		t.Chdir(in("release"))
		if err := Outside(".", "../keys/key"); err != nil {
			t.Error(err)
		}
		wants(t, "key", Outside(".", "key"), TrustInside)
		wants(t, "sub/../key", Outside("sub/..", "./sub/../key"), TrustInside)
		wants(t, "outside", Outside(".", "outside"), TrustInside)
	})
	t.Run("pipe", func(t *testing.T) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		if err := Outside(in("release"), filepath.Join("/dev/fd", strconv.Itoa(int(r.Fd())))); err != nil {
			t.Error(err)
		}
	})
}
