package tpm

import "github.com/google/go-tpm/tpm2"

// OtherFile is the key file of another program, for a key under a hierarchy's
// primary or a persistent parent.
type OtherFile struct {
	Parent    uint32
	RSAParent bool
	HasPIN    bool
	Public    []byte
	Private   []byte
}

// PEM encodes the file.
func (f OtherFile) PEM() ([]byte, error) {
	emptyAuth := !f.HasPIN
	k := &keyFile{kind: oidLoadable, emptyAuth: &emptyAuth, parent: f.Parent, public: f.Public, private: f.Private}
	if f.RSAParent {
		k.rsaParent = &f.RSAParent
	}
	return k.encode()
}

// PrimaryTemplate is the template H-1, or H-2.
func PrimaryTemplate(rsa bool) tpm2.TPMTPublic { return parentRef{rsa: rsa}.template() }

// KeyTemplate is the template of a P-256 key without a label, as other programs
// make it.
func KeyTemplate() tpm2.TPMTPublic {
	t := template("p256", "ssh", true)
	t.AuthPolicy = tpm2.TPM2BDigest{}
	return t
}
