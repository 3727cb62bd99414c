package cli

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"sync"
	"syscall"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/verify"
)

// The signatures over SHA256SUMS; more signers add ".WHO" before the ending.
const (
	sshsigEnding   = ".sig"
	sigstoreEnding = ".sigstore.json"
)

// releaseFolder is the content of a folder with a signed release, read once: what
// is checked is what was read, whatever happens to the folder meanwhile.
type releaseFolder struct {
	dir   string
	files map[string][]byte
	// What checkFiles found in them.
	bundles []*bundle.Bundle
	index   *bundle.Index
}

// isFolder says what to give when the argument is no folder.
func isFolder(dir string) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a folder", dir)
	}
	return hint.Wrap(err, "give the folder that holds "+bundle.SumsName)
}

// readRelease reads a release folder. It refuses files that no release has: what
// lies beside signed files is taken for signed, too.
func readRelease(dir string) (*releaseFolder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(limits.ReleaseFiles + 1)
	if err != nil && err != io.EOF { // which means that the folder is empty
		return nil, err
	}
	if len(names) > limits.ReleaseFiles {
		return nil, refused(verify.ExtraFile, "%s holds more than %d files", dir, limits.ReleaseFiles)
	}
	slices.Sort(names)
	r := &releaseFolder{dir: dir, files: map[string][]byte{}}
	for _, name := range names {
		limit := releaseLimit(name)
		if limit == 0 {
			return nil, refused(verify.ExtraFile, "%.200q is no file of a release", name)
		}
		if r.files[name], err = readIn(root, name, limit); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// readIn reads a regular file of the folder. A link is none, nor is a pipe, which
// would make us wait for ever.
func readIn(root *os.Root, name string, limit int64) ([]byte, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return nil, fmt.Errorf("read %.200q: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, refused(verify.ExtraFile, "%.200q is no regular file", name)
	}
	if info.Size() > limit {
		return nil, refused(verify.MalformedFile, "%.200q has %d bytes, more than %d", name, info.Size(), limit)
	}
	// O_NONBLOCK: if it became a pipe meanwhile, this does not wait.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read %.200q: %w", name, err)
	}
	defer f.Close()
	data, err := readAll(f, name, limit)
	if err != nil {
		return nil, &verify.Refusal{Reason: verify.ChangedFile, Err: err}
	}
	return data, nil
}

// releaseLimit is the largest size of a release's file, or 0 for a name that no
// release has.
func releaseLimit(name string) int64 {
	switch {
	case slices.Contains(bundleNames(), name):
		return limits.BundleFile
	case name == bundle.IndexName:
		return limits.BundleIndex
	case name == bundle.SumsName:
		return limits.BundleSums
	}
	match := signatureName.FindStringSubmatch(name)
	switch {
	case match == nil:
		return 0
	case match[1] == sigstoreEnding:
		return limits.ReleaseSigstore
	}
	return limits.SSHSIG
}

// signatureName is a signature over SHA256SUMS, perhaps of somebody else.
var signatureName = regexp.MustCompile(`^SHA256SUMS(?:\.[A-Za-z0-9][A-Za-z0-9@._+-]{0,63})?(\.sig|\.sigstore\.json)$`)

func bundleNames() []string {
	var names []string
	for _, kind := range bundle.Kinds() {
		names = append(names, kind.FileName())
	}
	return names
}

// summedNames are the files that SHA256SUMS names.
func summedNames() []string { return append(bundleNames(), bundle.IndexName) }

// checkFiles compares both bundles and their index with SHA256SUMS, reads them whole,
// and returns what it checked.
func (r *releaseFolder) checkFiles() ([]string, error) {
	data, err := r.file(bundle.SumsName)
	if err != nil {
		return nil, err
	}
	sums, err := bundle.ParseSums(data, summedNames()...)
	if err != nil {
		return nil, refused(verify.ChangedFile, "%w", err)
	}
	kinds := bundle.Kinds()
	r.bundles = make([]*bundle.Bundle, len(kinds))
	errs := make([]error, len(kinds))
	var wg sync.WaitGroup
	for i, kind := range kinds {
		wg.Go(func() { r.bundles[i], errs[i] = r.readBundle(sums, kind) })
	}
	wg.Wait()
	var checks []string
	for i, kind := range kinds {
		if errs[i] != nil {
			return nil, errs[i]
		}
		checks = append(checks,
			kind.FileName()+" has the digest that SHA256SUMS names",
			fmt.Sprintf("%s is a well-formed bundle of %d %s, dated %s",
				kind.FileName(), len(r.bundles[i].Certificates()), kind, r.bundles[i].Header().Date))
	}
	data, err = r.summed(sums, bundle.IndexName)
	if err != nil {
		return nil, err
	}
	if r.index, err = bundle.ParseIndex(data, r.bundles...); err != nil {
		return nil, refused(verify.MalformedFile, "%s: %w", bundle.IndexName, err)
	}
	return append(checks, bundle.IndexName+" has the digest that SHA256SUMS names and says what the bundles hold"), nil
}

// readBundle reads the bundle of a kind.
func (r *releaseFolder) readBundle(sums bundle.Sums, kind bundle.Kind) (*bundle.Bundle, error) {
	data, err := r.summed(sums, kind.FileName())
	if err != nil {
		return nil, err
	}
	b, err := bundle.Parse(data)
	if err != nil {
		return nil, refused(verify.MalformedFile, "%s: %w", kind.FileName(), err)
	}
	if b.Header().Kind != kind {
		return nil, refused(verify.MalformedFile, "%s holds %s", kind.FileName(), b.Header().Kind)
	}
	return b, nil
}

// checkParents checks the signatures on which the index relies, after checkFiles.
func (r *releaseFolder) checkParents() error {
	if err := r.index.CheckParents(r.bundles...); err != nil {
		return refused(verify.MalformedFile, "%s: %w", bundle.IndexName, err)
	}
	return nil
}

// summed is a file with the digest that SHA256SUMS names.
func (r *releaseFolder) summed(sums bundle.Sums, name string) ([]byte, error) {
	data, err := r.file(name)
	if err != nil {
		return nil, err
	}
	if err := sums.Check(name, data); err != nil {
		return nil, refused(verify.ChangedFile, "%w", err)
	}
	return data, nil
}

func (r *releaseFolder) file(name string) ([]byte, error) {
	data, ok := r.files[name]
	if !ok {
		return nil, refused(verify.MissingFile, "%s is not in %s", name, r.dir)
	}
	return data, nil
}

func refused(reason verify.Reason, format string, args ...any) error {
	return &verify.Refusal{Reason: reason, Err: fmt.Errorf(format, args...)}
}
