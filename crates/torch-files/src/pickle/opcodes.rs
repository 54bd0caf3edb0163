//! Opcodes of pickle protocols 0 to 5, named as in Python's `pickletools`.

macro_rules! opcodes {
    ($($name:ident = $byte:literal),*) => {
        $(pub(super) const $name: u8 = $byte;)*
    };
}

opcodes! {
    PROTO = 0x80, FRAME = 0x95, STOP = b'.',
    MARK = b'(', POP = b'0', POP_MARK = b'1', DUP = b'2',
    GET = b'g', BINGET = b'h', LONG_BINGET = b'j',
    PUT = b'p', BINPUT = b'q', LONG_BINPUT = b'r', MEMOIZE = 0x94,
    NONE = b'N', NEWTRUE = 0x88, NEWFALSE = 0x89,
    INT = b'I', LONG = b'L', FLOAT = b'F', BINFLOAT = b'G',
    BININT = b'J', BININT1 = b'K', BININT2 = b'M', LONG1 = 0x8a, LONG4 = 0x8b,
    UNICODE = b'V', BINUNICODE = b'X', SHORT_BINUNICODE = 0x8c, BINUNICODE8 = 0x8d,
    BINSTRING = b'T', SHORT_BINSTRING = b'U',
    BINBYTES = b'B', SHORT_BINBYTES = b'C', BINBYTES8 = 0x8e, BYTEARRAY8 = 0x96,
    LIST = b'l', EMPTY_LIST = b']', APPEND = b'a', APPENDS = b'e',
    DICT = b'd', EMPTY_DICT = b'}', SETITEM = b's', SETITEMS = b'u',
    EMPTY_SET = 0x8f, FROZENSET = 0x91, ADDITEMS = 0x90,
    TUPLE = b't', EMPTY_TUPLE = b')', TUPLE1 = 0x85, TUPLE2 = 0x86, TUPLE3 = 0x87,
    GLOBAL = b'c', STACK_GLOBAL = 0x93, NEWOBJ = 0x81, REDUCE = b'R', BUILD = b'b',
    BINPERSID = b'Q'
}

/// Returns the name of an opcode that is refused, or its number.
///
/// The named ones call arbitrary functions or refer to data outside the pickle.
pub(super) fn name_of_refused(opcode: u8) -> String {
    let name = match opcode {
        b'P' => "PERSID",
        b'S' => "STRING",
        b'i' => "INST",
        b'o' => "OBJ",
        0x82 => "EXT1",
        0x83 => "EXT2",
        0x84 => "EXT4",
        0x92 => "NEWOBJ_EX",
        0x97 => "NEXT_BUFFER",
        0x98 => "READONLY_BUFFER",
        _ => return format!("0x{opcode:02x}"),
    };
    name.to_owned()
}
