package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// SumsName is the name of the file that lists the digests of a release.
const SumsName = "SHA256SUMS"

// Sum is one line of SHA256SUMS.
type Sum struct {
	Name   string
	Digest [sha256.Size]byte
}

// Sums are the digests of a release's files, sorted by name. The text form is
// that of sha256sum(1): `sha256sum -c SHA256SUMS` checks it.
type Sums []Sum

// NewSums computes the digests of files.
func NewSums(files []File) Sums {
	sums := make(Sums, len(files))
	for i, f := range files {
		sums[i] = Sum{f.Name, sha256.Sum256(f.Data)}
	}
	slices.SortFunc(sums, func(a, b Sum) int { return strings.Compare(a.Name, b.Name) })
	return sums
}

// Encode writes a line for each file: the digest in lower-case hexadecimal, two
// spaces, the name.
func (s Sums) Encode() []byte {
	var out []byte
	for _, sum := range s {
		out = fmt.Appendf(out, "%x  %s\n", sum.Digest, sum.Name)
	}
	return out
}

// Check says whether data are the bytes that the list has for name.
func (s Sums) Check(name string, data []byte) error {
	for _, sum := range s {
		if sum.Name != name {
			continue
		}
		if got := sha256.Sum256(data); got != sum.Digest {
			return fmt.Errorf("%s: its SHA-256 digest is %x, %s says %x", name, got, SumsName, sum.Digest)
		}
		return nil
	}
	return fmt.Errorf("%s does not name %q", SumsName, name)
}

// ParseSums reads SHA256SUMS. It takes only what [Sums.Encode] writes, and only
// if it names exactly the files that the caller expects: a list that vouches for
// more, or for less, is refused.
func ParseSums(data []byte, expected ...string) (Sums, error) {
	if len(data) > limits.BundleSums {
		return nil, fmt.Errorf("%s has more than %d bytes", SumsName, limits.BundleSums)
	}
	var sums Sums
	for line := range strings.Lines(string(data)) {
		sum, err := parseSum(line)
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", SumsName, len(sums)+1, err)
		}
		if n := len(sums); n > 0 && sums[n-1].Name >= sum.Name {
			return nil, fmt.Errorf("%s, line %d: %q is not after %q", SumsName, n+1, sum.Name, sums[n-1].Name)
		}
		sums = append(sums, sum)
	}
	names := make([]string, len(sums))
	for i, sum := range sums {
		names[i] = sum.Name
	}
	if want := slices.Sorted(slices.Values(expected)); !slices.Equal(names, want) {
		return nil, fmt.Errorf("%s names %q, want %q", SumsName, names, want)
	}
	return sums, nil
}

func parseSum(line string) (Sum, error) {
	digest, rest, spaced := strings.Cut(line, "  ")
	name, ended := strings.CutSuffix(rest, "\n")
	if !spaced || !ended {
		return Sum{}, errors.New("not a digest, two spaces, a name and a line feed")
	}
	raw, err := hex.DecodeString(digest)
	if err != nil || len(raw) != sha256.Size || hex.EncodeToString(raw) != digest {
		return Sum{}, fmt.Errorf("%s is not a SHA-256 digest in lower-case hexadecimal", quote(digest))
	}
	if !plainName(name) {
		return Sum{}, fmt.Errorf("%s is not a plain file name", quote(name))
	}
	return Sum{name, [sha256.Size]byte(raw)}, nil
}

// plainName allows what cannot be a path, an option or anything in a shell, on
// any system.
func plainName(name string) bool {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	return name != "" && len(name) <= 255 && strings.Trim(name, letters+"-_.") == "" &&
		strings.IndexAny(name, letters) == 0
}
