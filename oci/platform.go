package oci

import (
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealsmith/sealsmith/internal/hint"
)

// Platform is what an image runs on: "linux/amd64", "linux/arm/v7".
type Platform struct {
	OS, Architecture, Variant string
}

// platforms are those that Go builds static Linux programs for and that
// container runtimes know.
var platforms = []Platform{
	{"linux", "386", ""},
	{"linux", "amd64", ""},
	{"linux", "arm", "v6"},
	{"linux", "arm", "v7"},
	{"linux", "arm64", ""},
	{"linux", "ppc64le", ""},
	{"linux", "riscv64", ""},
	{"linux", "s390x", ""},
}

// baselines are the settings of go build that mean a platform without a word
// about newer instructions. They are always set: the environment may say more.
var baselines = map[Platform]string{
	{"linux", "386", ""}:     "GO386=sse2",
	{"linux", "amd64", ""}:   "GOAMD64=v1",
	{"linux", "arm", "v6"}:   "GOARM=6",
	{"linux", "arm", "v7"}:   "GOARM=7",
	{"linux", "arm64", ""}:   "GOARM64=v8.0",
	{"linux", "ppc64le", ""}: "GOPPC64=power8",
	{"linux", "riscv64", ""}: "GORISCV64=rva20u64",
}

// ParsePlatform accepts the texts of the platforms that images are built for.
// Its error wraps [ErrUsage] and lists them.
func ParsePlatform(s string) (Platform, error) {
	known := make([]string, len(platforms))
	for i, p := range platforms {
		if known[i] = p.String(); known[i] == s {
			return p, nil
		}
	}
	return Platform{}, hint.Wrap(fmt.Errorf("unknown platform %.40q: %w", s, ErrUsage),
		"choose among "+strings.Join(known, ", "))
}

// String is the inverse of [ParsePlatform].
func (p Platform) String() string {
	text := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		text += "/" + p.Variant
	}
	return text
}

func (p Platform) descriptor() *v1.Platform {
	return &v1.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
}
