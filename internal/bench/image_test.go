package bench

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sealsmith/sealsmith/internal/ocitest"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/oci"
)

// TestImagePush builds an image of two programs of 20 MB and pushes it, and
// compares with what people type without us: tar, gzip and crane.
func TestImagePush(t *testing.T) {
	const name = "image/push/2platforms"
	if !wanted(name) {
		return
	}
	crane, err := testenv.Look(testenv.Crane)
	if err != nil {
		t.Fatalf("%v; run: make tools", err)
	}
	registry := ocitest.Registry(t, true)
	dir := t.TempDir()
	platforms := []string{"linux/amd64", "linux/arm64"}
	programs := make([]string, len(platforms))
	for i := range platforms {
		programs[i] = filepath.Join(dir, fmt.Sprint("app", i))
		if err := os.WriteFile(programs[i], programLike(20<<20, byte(i)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	round := 0
	ours := func() float64 {
		round++
		return seconds(func() { push(t, fmt.Sprintf("%s/ours%d:v1", registry, round), platforms, programs) })
	}
	theirs := func() float64 {
		return seconds(func() {
			pipeline(t, crane, fmt.Sprintf("%s/theirs%d", registry, round), dir, platforms, programs)
		})
	}
	value, ratio := inTurns(ours, theirs)
	printFigure(name, value, "s", "tar, gzip -6 and crane", 1/ratio)
}

func push(t *testing.T, ref string, platforms, programs []string) {
	t.Helper()
	var options oci.BuildOptions
	for i, text := range platforms {
		platform, err := oci.ParsePlatform(text)
		if err != nil {
			t.Fatal(err)
		}
		file := oci.File{Path: "/usr/bin/app", Source: programs[i], Executable: true}
		options.Inputs = append(options.Inputs, oci.Input{Platform: platform, Files: []oci.File{file}})
	}
	image, err := oci.Build(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	if _, err := oci.NewClient("bench").Push(t.Context(), ref, image, nil); err != nil {
		t.Fatal(err)
	}
}

// pipeline is the same with the tools that are there.
func pipeline(t *testing.T, crane, repository, dir string, platforms, programs []string) {
	t.Helper()
	index := []string{"index", "append", "--insecure", "-t", repository + ":v1"}
	for i := range platforms {
		layer := filepath.Join(dir, fmt.Sprintf("layer%d.tar.gz", i))
		run(t, "bash", "-c", fmt.Sprintf("tar -C %s -c %s | gzip -n -6 > %s", dir, filepath.Base(programs[i]), layer))
		tag := fmt.Sprintf("%s:p%d", repository, i)
		run(t, crane, "append", "--insecure", "--oci-empty-base", "-f", layer, "-t", tag)
		index = append(index, "-m", tag)
	}
	run(t, crane, index...)
}

func run(t *testing.T, program string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", program, args, err, out)
	}
}

// programLike makes bytes that compress to about half, as machine code does.
func programLike(size int, seed byte) []byte {
	data := make([]byte, 0, size)
	block := sha256.Sum256([]byte{seed})
	for len(data) < size {
		block = sha256.Sum256(block[:])
		data = append(data, block[:]...)
		data = append(data, block[:16]...)
		data = append(data, make([]byte, 16)...)
	}
	return data[:size]
}
