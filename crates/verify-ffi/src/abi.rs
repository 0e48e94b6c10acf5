//! The C interface. Each function checks its pointers and contains panics; nothing here knows a database.
#![expect(
    unsafe_code,
    reason = "a C interface receives pointers; each use states what the caller guarantees"
)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ops::ControlFlow;
use std::ptr::{self, NonNull};

use verify_core::cancellation::Cancellation;
use verify_core::finding::Verdict;

use crate::call::{self, Answer, Call, Failure, contain, error_document, usage};
use crate::progress::Progress;

/// Version of this interface. It grows when a function, type or status changes or is removed; additions leave it.
pub const ABI_VERSION: u32 = 1;

/// Outcome of a call. The numbers are those of the program's exit status.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The databases are the same, or the manifest covers everything.
    Pass = 0,
    /// The databases differ, or the server found its data damaged.
    Fail = 1,
    /// The answer could not be found out: the result is an error.
    Error = 2,
    /// No difference was found, but something was not checked. Never treat it as a pass.
    Inconclusive = 3,
}

/// Bytes that the library owns: release them with `state_lab_bytes_free`. A zero byte, which `len` does not count, follows
/// them. `data` may be null.
#[repr(C)]
pub struct Bytes {
    /// First byte.
    pub data: *mut u8,
    /// Number of bytes.
    pub len: usize,
}

/// Ends calls from another thread.
pub struct Token(Cancellation);

/// Receives an event as one line of JSON. Valid until it returns; it may be called many times a second, always on the thread
/// that made the call. To stop the work, return another value than zero. It must neither unwind nor jump out.
pub type OnEvent = Option<unsafe extern "C" fn(event: *const c_char, user_data: *mut c_void) -> c_int>;

/// Returns the version of the interface that the library has. Compare it with `STATE_LAB_ABI_VERSION` first.
#[unsafe(no_mangle)]
pub extern "C" fn state_lab_abi_version() -> u32 {
    ABI_VERSION
}

/// Returns the version of state-lab. The text is constant, and not to be released.
#[unsafe(no_mangle)]
pub extern "C" fn state_lab_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// Creates a token. Release it with `state_lab_token_free`.
#[unsafe(no_mangle)]
pub extern "C" fn state_lab_token_new() -> *mut Token {
    Box::into_raw(Box::new(Token(Cancellation::new())))
}

/// Ends every call that has this token, and those that it is passed to later. Any thread may call it, also in a signal
/// handler. Null is ignored.
///
/// # Safety
///
/// `token` is null, or from `state_lab_token_new` and not released.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn state_lab_token_cancel(token: *const Token) {
    // SAFETY: by this function's contract.
    if let Some(token) = unsafe { token.as_ref() } {
        token.0.cancel();
    }
}

/// Releases a token. Calls that have it must have returned. Null is ignored.
///
/// # Safety
///
/// `token` is null, or from `state_lab_token_new` and not released; no call uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn state_lab_token_free(token: *mut Token) {
    if !token.is_null() {
        // SAFETY: by this function's contract it is the box of `state_lab_token_new`, which has no other owner.
        drop(unsafe { Box::from_raw(token) });
    }
}

/// Releases the bytes of a result. Those that are null are ignored.
///
/// # Safety
///
/// `bytes` is a result of this library, with neither field changed, and not released.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn state_lab_bytes_free(bytes: Bytes) {
    if !bytes.data.is_null() {
        // SAFETY: by this function's contract it is the box that `Bytes::of` made: `len` bytes and a zero byte.
        drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(bytes.data, bytes.len + 1)) });
    }
}

/// Measures a database, and gives its manifest. Between the events `snapshot` and `measured` the callback may take a backup of
/// the same point in time.
///
/// `conninfo` is a whole connection string: no environment variable and no file of the home directory is read. `options` is a
/// JSON object, or null for the defaults; `token`, `on_event` and `user_data` may be null. `result` receives the file of the
/// manifest, or, with `ERROR`, the error as JSON.
///
/// # Safety
///
/// Texts end with a zero byte, and every pointer that is not null is valid until the call returns. Neither `result` nor
/// `user_data` is used by another thread meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn state_lab_capture(
    conninfo: *const c_char,
    options: *const c_char,
    token: *const Token,
    on_event: OnEvent,
    user_data: *mut c_void,
    result: *mut Bytes,
) -> Status {
    // SAFETY: by this function's contract.
    let arguments = || unsafe { Arguments::new(options, token, on_event, user_data) };
    let work = || {
        let arguments = arguments()?;
        // SAFETY: by this function's contract.
        let conninfo = unsafe { text("conninfo", conninfo) }?;
        arguments.call(|call| call::capture(conninfo, call))
    };
    // SAFETY: by this function's contract.
    unsafe { answer(result, work) }
}

/// Compares a restored database with a manifest, the `manifest_len` bytes of its file, and gives the report as JSON.
///
/// The other arguments are those of `state_lab_capture`.
///
/// # Safety
///
/// As for `state_lab_capture`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn state_lab_verify(
    manifest: *const u8,
    manifest_len: usize,
    conninfo: *const c_char,
    options: *const c_char,
    token: *const Token,
    on_event: OnEvent,
    user_data: *mut c_void,
    result: *mut Bytes,
) -> Status {
    // SAFETY: by this function's contract.
    let arguments = || unsafe { Arguments::new(options, token, on_event, user_data) };
    let work = || {
        let arguments = arguments()?;
        // SAFETY: by this function's contract.
        let (manifest, conninfo) =
            unsafe { (bytes("manifest", manifest, manifest_len)?, text("conninfo", conninfo)?) };
        arguments.call(|call| call::verify(manifest, conninfo, call))
    };
    // SAFETY: by this function's contract.
    unsafe { answer(result, work) }
}

/// Compares two running databases, to which nothing may be written meanwhile, and gives the report as JSON.
///
/// The other arguments are those of `state_lab_capture`.
///
/// # Safety
///
/// As for `state_lab_capture`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn state_lab_compare(
    source: *const c_char,
    restored: *const c_char,
    options: *const c_char,
    token: *const Token,
    on_event: OnEvent,
    user_data: *mut c_void,
    result: *mut Bytes,
) -> Status {
    // SAFETY: by this function's contract.
    let arguments = || unsafe { Arguments::new(options, token, on_event, user_data) };
    let work = || {
        let arguments = arguments()?;
        // SAFETY: by this function's contract.
        let (source, restored) = unsafe { (text("source", source)?, text("restored", restored)?) };
        arguments.call(|call| call::compare(source, restored, call))
    };
    // SAFETY: by this function's contract.
    unsafe { answer(result, work) }
}

/// The arguments that all calls have.
struct Arguments<'a> {
    options: &'a str,
    token: Cancellation,
    on_event: OnEvent,
    user_data: *mut c_void,
}

impl<'a> Arguments<'a> {
    /// # Safety
    ///
    /// As for `state_lab_capture`, for `'a`.
    unsafe fn new(
        options: *const c_char,
        token: *const Token,
        on_event: OnEvent,
        user_data: *mut c_void,
    ) -> Result<Self, Failure> {
        // SAFETY: by this function's contract.
        let options = if options.is_null() { "" } else { unsafe { text("options", options) }? };
        // SAFETY: by this function's contract.
        let token = unsafe { token.as_ref() }.map(|token| token.0.clone()).unwrap_or_default();
        Ok(Self { options, token, on_event, user_data })
    }

    fn call(self, call: impl FnOnce(Call<'_>) -> Result<Answer, Failure>) -> Result<Answer, Failure> {
        let Self { options, token, on_event, user_data } = self;
        let mut on_progress = |progress: Option<&Progress>| {
            let (Some(on_event), Some(progress)) = (on_event, progress) else {
                return ControlFlow::Continue(());
            };
            let mut line = progress.json().into_bytes();
            // JSON escapes zero bytes.
            line.push(0);
            // SAFETY: the text ends with a zero byte and outlives the call; the caller guarantees the rest.
            match unsafe { on_event(line.as_ptr().cast(), user_data) } {
                0 => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        };
        call(Call { options, token: &token, on_progress: &mut on_progress })
    }
}

/// # Safety
///
/// `pointer` is null, or a text that ends with a zero byte and is valid for `'a`.
unsafe fn text<'a>(name: &str, pointer: *const c_char) -> Result<&'a str, Failure> {
    if pointer.is_null() {
        return Err(invalid(name, "it is a null pointer"));
    }
    // SAFETY: by this function's contract.
    unsafe { CStr::from_ptr(pointer) }.to_str().map_err(|_| invalid(name, "it is not UTF-8"))
}

/// # Safety
///
/// `pointer` is null, or has `len` bytes that are valid for `'a`.
unsafe fn bytes<'a>(name: &str, pointer: *const u8, len: usize) -> Result<&'a [u8], Failure> {
    let pointer = NonNull::new(pointer.cast_mut()).ok_or_else(|| invalid(name, "it is a null pointer"))?;
    if isize::try_from(len).is_err() {
        return Err(invalid(name, "its length is negative"));
    }
    // SAFETY: by this function's contract; no object is longer.
    Ok(unsafe { NonNull::slice_from_raw_parts(pointer, len).as_ref() })
}

fn invalid(name: &str, reason: &str) -> Failure {
    usage(
        vec![format!("failed to use the argument {name}"), reason.to_owned()],
        "correct the call; the header state_lab.h describes the arguments",
    )
}

/// Does the work, and writes what it gives, or its error, to `result`.
///
/// # Safety
///
/// `result` is null, or valid for a write.
unsafe fn answer(result: *mut Bytes, work: impl FnOnce() -> Result<Answer, Failure>) -> Status {
    let Some(mut result) = NonNull::new(result) else { return Status::Error };
    let (status, document) = match contain(work) {
        Ok(Answer { verdict, document }) => (verdict.into(), document),
        Err(failure) => (Status::Error, error_document(&failure)),
    };
    // SAFETY: by this function's contract. What was there is not read: it may be uninitialised.
    unsafe { ptr::write(result.as_mut(), Bytes::of(document)) };
    status
}

impl Bytes {
    fn of(mut document: Vec<u8>) -> Self {
        let len = document.len();
        document.push(0);
        Self { data: Box::into_raw(document.into_boxed_slice()).cast(), len }
    }
}

impl From<Verdict> for Status {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Fail => Self::Fail,
            Verdict::Inconclusive => Self::Inconclusive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_a_document() {
        let mut result = Bytes { data: ptr::null_mut(), len: 0 };
        // SAFETY: `result` is valid.
        let status = unsafe { answer(&raw mut result, || panic!("password=hunter2")) };
        // SAFETY: the library made the bytes, and a zero byte follows them.
        let text = unsafe { CStr::from_ptr(result.data.cast()) }.to_str().unwrap().to_owned();
        assert_eq!((status, result.len), (Status::Error, text.len()));
        assert!(
            text.contains("panicked") && text.contains(r#""kind":"other""#) && !text.contains("hunter2"),
            "{text}"
        );
        // SAFETY: as above.
        unsafe { state_lab_bytes_free(result) };
    }
}
