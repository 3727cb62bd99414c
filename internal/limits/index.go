package limits

// BundleIndex is what the index of two bundles of BundleFile each takes, about 1.2 kB
// for a certificate.
const BundleIndex = 32 << 20
