package limits

// What a CA catalog may say, besides the sizes of package bundle.
const (
	// CatalogNote bounds a description or notes, in bytes: a paragraph.
	CatalogNote = 2000
	// CatalogEvidence is how many links an entry may have; the community's
	// folders of evidence hold up to six files a vendor.
	CatalogEvidence = 16
	// CatalogFindings bounds what is found in one file, like YAMLMistakes.
	CatalogFindings = 1000
)
