//! What a test breaks in the cluster, and mends.

/// Something that is put right again when the test ends, however it does.
pub(crate) struct Mended<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for Mended<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
