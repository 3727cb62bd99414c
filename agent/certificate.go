package agent

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/sshwire"
)

// addCertificate says what a certificate will allow, to whom, and for how long. A
// list that the agent quotes is shown whole; in a certificate that has too much of
// them, for a key that signs unattended, they are marked as what may be cut.
func (q *Question) addCertificate(c *ssh.Certificate) {
	kind := "a user"
	if c.CertType == ssh.HostCert {
		kind = "a host"
	}
	q.add("Certificate for", kind)
	cut := showableCertificate(c) != nil
	q.addFact(Fact{"Principals", quoted(c.ValidPrincipals), cut})
	validity, err := sshwire.Validity(c)
	if err != nil {
		validity = err.Error()
	}
	q.add("Valid", validity)
	q.addFact(Fact{"Restrictions", options(c.CriticalOptions), cut})
	q.addFact(Fact{"Extensions", options(c.Extensions), cut})
	q.add("Certified key", fmt.Sprintf("%s (%s)", ssh.FingerprintSHA256(c.Key), c.Key.Type()))
	q.quote("Certificate id", c.KeyId)
	q.add("Serial", strconv.FormatUint(c.Serial, 10))
}

// showableCertificate says whether a prompt can show all that a certificate will
// allow.
func showableCertificate(c *ssh.Certificate) error {
	n := len(quoted(c.ValidPrincipals)) + len(options(c.CriticalOptions)) + len(options(c.Extensions))
	if n > limits.ShownCertificate {
		return hint.Wrap(refuse(fmt.Sprintf("the certificate's principals and options take %d bytes, and a prompt shows %d", n, limits.ShownCertificate)),
			"certify for fewer principals, or use a key created with --unattended")
	}
	return nil
}

// quoted lists a client's words so that nothing is ambiguous.
func quoted(words []string) string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = strconv.QuoteToASCII(w)
	}
	return strings.Join(list, ", ")
}

// options lists critical options or extensions: their names and values.
func options(values map[string]string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		text := strconv.QuoteToASCII(name)
		if values[name] != "" {
			text += "=" + strconv.QuoteToASCII(values[name])
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}
