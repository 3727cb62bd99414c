package archtest

// module is our module path; the tables name packages relative to it.
const module = "github.com/sealsmith/sealsmith"

// layers is the strict order, lowest first: a package imports only packages of
// lower layers, never a sibling. The foundation layer is the exception: its
// packages may import each other, and Go itself forbids cycles.
var layers = []layer{
	{"foundation", []string{
		"catalog", "internal/atomicfile", "internal/config", "internal/dsse", "internal/gitmeta", "internal/hint",
		"internal/limits", "internal/logx", "internal/peercred", "internal/prompt", "internal/sandbox", "internal/secret", "internal/seen",
		"internal/sockets", "internal/sshsig", "internal/sshwire", "internal/strictyaml",
		"internal/systemd", "internal/version", "internal/xdg",
	}},
	{"vocabulary", []string{"key"}},
	{"devices and formats", []string{"tpm", "bundle", "oci", "provenance"}},
	{"keys at work", []string{"agent", "internal/helper", "sign", "verify"}},
	{"wiring", []string{"internal/daemon"}},
	{"commands", []string{"internal/cli"}},
	{"programs", []string{"cmd/sealsmith", "cmd/sealsmith-agent", "internal/mangen"}},
}

// layer is one row of the order.
type layer struct {
	name     string
	packages []string
}

// kits are test kits: only test files and other kits import them, and they may
// import anything.
var kits = []string{
	"internal/archtest", "internal/keytest", "internal/ocitest", "internal/sigtest",
	"internal/sshtest", "internal/testenv", "internal/tpmtest",
}

// doors names the only packages that may import a library (a package path, with
// everything below it). Test files are free: they speak to our rooms with the
// libraries that others use.
var doors = map[string][]string{
	"github.com/google/go-tpm":                          {"tpm", "internal/tpmtest"},
	"github.com/google/go-containerregistry":            {"oci", "internal/ocitest"},
	"github.com/sigstore/sigstore-go":                   {"sign", "verify"},
	"github.com/sigstore/sigstore":                      {"sign", "verify"},
	"github.com/sigstore/protobuf-specs":                {"sign", "verify"},
	"github.com/in-toto/attestation":                    {}, // a test oracle
	"github.com/spf13/cobra":                            {"internal/cli", "internal/mangen"},
	"golang.org/x/crypto/ssh":                           {"agent", "internal/sshwire", "internal/sshsig"},
	"go.yaml.in/yaml/v3":                                {"internal/strictyaml"},
	"github.com/adrg/xdg":                               {"internal/xdg"},
	"github.com/klauspost/compress":                     {"oci"},
	"github.com/cenkalti/backoff/v5":                    {"bundle", "oci"},
	"github.com/schollz/progressbar/v3":                 {"internal/cli"},
	"github.com/smallstep/pkcs7":                        {"bundle"},
	"software.sslmate.com/src/go-pkcs12":                {"bundle"},
	"github.com/coreos/go-systemd/v22":                  {"internal/daemon"},
	"github.com/landlock-lsm/go-landlock":               {"internal/sandbox"},
	"golang.org/x/term":                                 {"internal/prompt", "internal/cli"},
	"github.com/secure-systems-lab/go-securesystemslib": {}, // a test oracle
}

// forbidden names what a package must not link, not even through others, though
// the layers allow it: drivers are lent secrets by a key.AuthFunc and never ask a
// person themselves.
var forbidden = map[string][]string{
	"tpm": {"internal/prompt"},
}

// daemonModules is all that the process which holds PINs may link, besides the
// standard library and ourselves. A new module fails the test with the import
// path that brought it in.
var daemonModules = []string{
	"github.com/adrg/xdg",
	"github.com/coreos/go-systemd/v22",
	"github.com/google/go-tpm",
	"github.com/landlock-lsm/go-landlock",
	"go.yaml.in/yaml/v3",
	"golang.org/x/crypto",
	"golang.org/x/sync",
	"golang.org/x/sys",
	"golang.org/x/term",
	"kernel.org/pub/linux/libs/security/libcap/psx", // of go-landlock
}

// notPaths are the beginnings of what looks like a path in a document and is none
// of ours: media types, names of keys.
var notPaths = []string{"application/", "software/", "tpm/release"}

// longFiles are the source files over maxLines, each with its reason.
var longFiles = map[string]string{}

// maxLines is how long a source file may be without a reason.
const maxLines = 350
