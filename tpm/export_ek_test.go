package tpm

import "github.com/google/go-tpm/tpm2"

// EKTemplate is a template of the EK Credential Profile.
func EKTemplate(name string) tpm2.TPMTPublic {
	for _, t := range ekTemplates {
		if t.name == name {
			return t.area
		}
	}
	panic("no template " + name)
}

// EKPolicies are the policies A, C and B for a hash.
func EKPolicies(hash tpm2.TPMIAlgHash) (a, c, b []byte) {
	p := policiesOf[hash]
	return policyDigest(p.a).Buffer, policyDigest(p.c).Buffer, policyDigest(p.b).Buffer
}
