package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/sshtest"
	"github.com/sealsmith/sealsmith/internal/testenv"
)

// howto runs every command of a page of docs/howto, in their order, in one shell of
// a user who has nothing yet but what prepare made. It puts what stands for the
// reader's own things in its place.
func howto(t *testing.T, page, prepare string, places ...string) {
	t.Helper()
	for _, p := range []testenv.Program{testenv.SSHAdd, testenv.SSHKeygen, testenv.Git, testenv.JQ} {
		testenv.Need(t, p)
	}
	w := newWorld(t)
	server := sshtest.Start(t, nil)
	w.write("ssh_config", fmt.Sprintf("Host server.example\n\tHostName 127.0.0.1\n\tPort %d\n\tUser %s\n\tUserKnownHostsFile %s\n\tBatchMode yes\nInclude %s\n",
		server.Port, server.User, server.KnownHosts, w.path(".ssh/config")))
	w.env = append(w.env, "XDG_DATA_HOME="+w.path(".local/share"), "SSH_ASKPASS=/bin/true", "SSH_CONNECTION=", "SHELL=/bin/sh")
	places = append(places,
		"sealsmith init laptop", "sealsmith init laptop --no-pin",
		"ssh me@server.example", "ssh -F "+w.path("ssh_config")+" server.example",
		"ssh-copy-id -f -i ~/.local/share/sealsmith/keys/laptop.pub me@server.example", "cat ~/.local/share/sealsmith/keys/laptop.pub >> "+server.AuthorizedKeys,
	)
	commands := consoleCommands(t, filepath.Join(testenv.Root(), "docs", "howto", page), 10)
	if slices.ContainsFunc(commands, func(c string) bool { return strings.HasPrefix(c, "sealsmith init") }) {
		t.Cleanup(w.endAgent)
	}
	script := "set -veuo pipefail\n" + prepare + "\n" + strings.NewReplacer(places...).Replace(strings.Join(commands, "\n"))
	if out, err := w.try("", "bash", "-c", script); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestHowtoSSH: docs/howto/ssh.md works as written.
func TestHowtoSSH(t *testing.T) {
	howto(t, "ssh.md", `mkdir ~/.ssh
ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519
ssh-keygen -q -t ecdsa -N '' -f ~/.ssh/id_ecdsa
sealsmith key create made-elsewhere --usage ssh
mv ~/.local/share/sealsmith/keys/made-elsewhere.tpm ~/.ssh/id_ecdsa.tpm
rm ~/.local/share/sealsmith/keys/made-elsewhere.*`,
		"--usage ssh --pin", "--usage ssh --pin-fd 3 3<<<'2718 2818'",
		"unlock-key safe", "unlock-key safe --pin-fd 3 3<<<'2718 2818'")
}

// TestHowtoGit: docs/howto/git.md works as written.
func TestHowtoGit(t *testing.T) {
	howto(t, "git.md", `git init -q .
git config --global user.name Reader
git config --global user.email me@example.org
touch file
git add file
ssh-keygen -q -t ed25519 -N '' -f friend`,
		"git commit -S -m 'signed by another key'", "git commit -q --allow-empty -S -m 'signed by another key'")
}

// TestHowtoBundle: docs/howto/bundle.md works as written, with a throw-away CA in the
// vendors' place.
func TestHowtoBundle(t *testing.T) {
	testenv.Need(t, testenv.OpenSSL)
	testenv.Need(t, testenv.SHA256Sum)
	const catalogs = " --catalog ca/roots.yaml --catalog ca/intermediates.yaml --store ca/certs"
	howto(t, "bundle.md", `bash `+filepath.Join(testenv.Root(), "scripts", "demo-catalog")+` ca
sealsmith bundle build`+catalogs+` --offline --date 2026-04-11 --output old
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ek.key -subj / -out ek.csr
printf 'keyUsage=critical,keyAgreement\nextendedKeyUsage=2.23.133.8.1\n' > ek.ext
openssl x509 -req -in ek.csr -CA ca/intermediates.pem -CAkey ca/intermediates.key -set_serial 5 -days 5 -extfile ek.ext -out ek.pem`,
		"sealsmith bundle build", "sealsmith bundle build --offline"+catalogs,
		"sealsmith bundle fetch", "sealsmith bundle fetch"+catalogs,
		"--within 90d", "--within 10d")
}
