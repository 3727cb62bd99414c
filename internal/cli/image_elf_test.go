package cli

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/oci"
)

func TestCheckProgram(t *testing.T) {
	little, big := "\x7fELF\x02\x01\x01"+string(make([]byte, 9))+"\x02\x00", "\x7fELF\x02\x02\x01"+string(make([]byte, 9))+"\x00\x02"
	for name, c := range map[string]struct {
		platform, content string
		good              bool
	}{
		"amd64":             {"linux/amd64", little + "\x3e\x00", true},
		"amd64 as arm64":    {"linux/arm64", little + "\x3e\x00", false},
		"arm64":             {"linux/arm64", little + "\xb7\x00", true},
		"arm":               {"linux/arm/v7", little + "\x28\x00", true},
		"s390x":             {"linux/s390x", big + "\x00\x16", true},
		"big-endian ppc64":  {"linux/ppc64le", big + "\x00\x15", false},
		"riscv64":           {"linux/riscv64", little + "\xf3\x00", true},
		"386":               {"linux/386", little + "\x03\x00", true},
		"ppc64le":           {"linux/ppc64le", little + "\x15\x00", true},
		"nonsense":          {"linux/amd64", little + "\xff\xff", false},
		"script":            {"linux/arm64", "#!/bin/sh\necho a script of some length\n", true},
		"empty":             {"linux/arm64", "", true},
		"shorter than that": {"linux/arm64", little, true},
	} {
		platform, err := oci.ParsePlatform(c.platform)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "app")
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := checkProgram(path, platform); c.good != (err == nil) || err != nil && !errors.Is(err, key.ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
