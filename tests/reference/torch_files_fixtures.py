"""Writes valid and hostile PyTorch checkpoints and pickles, for crates/torch-files/tests.

Usage: python torch_files_fixtures.py [OUTPUT]   (default: ../fixtures/torch_files)

  sound/*.pt, checkpoints.json      checkpoints by torch.save: format, names in order, other entries
  expected/*.safetensors            the tensors of torch.load, contiguous
  embeddings/*.pkl, embeddings.json ClipCap's training data in its usual forms, and the contents
  plain/*.pkl, plain.json           plain data in all six pickle protocols, and the same as JSON
  values.pkl                        one value of each kind that is not JSON
  hostile/*, hostile.json           files to refuse, and words of the error messages
  written.pkl                       output of torch_files, which is read here

Each payload in hostile/ would create PAYLOAD; this script checks that it does so in Python, and that
Python reads the values of embeddings/clipcap_4.pkl from written.pkl.
"""

import argparse
import builtins
import collections
import datetime
import io
import json
import os
import pickle
import pickletools
import shutil
import struct
import subprocess
import sys
import tarfile
import warnings
import zipfile
from pathlib import Path, PurePosixPath

import numpy
import torch
from safetensors.torch import save_file
from torch import nn

PAYLOAD = "/tmp/capsmith_torch_files_payload_ran"
CLIP, HIDDEN, PREFIX = 6, 4, 2


class Attention(nn.Module):
    """ClipCap's model by names of weights, without a forward pass."""

    def __init__(self):
        super().__init__()
        self.to_queries = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.to_keys_values = nn.Linear(HIDDEN, 2 * HIDDEN, bias=False)
        self.project = nn.Linear(HIDDEN, HIDDEN)


class Feed(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(HIDDEN, 2 * HIDDEN)
        self.fc2 = nn.Linear(2 * HIDDEN, HIDDEN)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1 = nn.LayerNorm(HIDDEN)
        self.attn = Attention()
        self.norm2 = nn.LayerNorm(HIDDEN)
        self.mlp = Feed()


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Layer() for _ in range(2)])


class TransformerMapper(nn.Module):
    def __init__(self):
        super().__init__()
        self.transformer = Transformer()
        self.linear = nn.Linear(CLIP, PREFIX * HIDDEN)
        self.prefix_const = nn.Parameter(torch.randn(PREFIX, HIDDEN))


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Linear(CLIP, 5), nn.Tanh(), nn.Linear(5, PREFIX * HIDDEN))


class Gpt(nn.Module):
    """Model with a few of GPT-2's names; the output layer is tied to the token embeddings."""

    def __init__(self):
        super().__init__()
        self.transformer = nn.ModuleDict({
            "wte": nn.Embedding(7, HIDDEN),
            "wpe": nn.Embedding(3, HIDDEN),
            "ln_f": nn.LayerNorm(HIDDEN),
        })
        self.lm_head = nn.Linear(HIDDEN, 7, bias=False)
        self.lm_head.weight = self.transformer["wte"].weight


class ClipCap(nn.Module):
    def __init__(self, mapper):
        super().__init__()
        self.gpt = Gpt()
        self.clip_project = mapper


def checkpoints(out):
    cases = []

    def case(name, tensors, saved=None, place="", others=(), **how):
        saved = tensors if saved is None else saved
        torch.save(saved, out / "sound" / f"{name}.pt", **how)
        # What PyTorch's own restricted reader takes is taken here; it knows no later protocol than 2.
        loaded = torch.load(out / "sound" / f"{name}.pt", weights_only="pickle_protocol" not in how)
        assert type(loaded) is type(saved)
        expected = {key: value.detach().contiguous().clone() for key, value in tensors.items()}
        digest = name.removesuffix("_zip").removesuffix("_legacy")
        save_file(expected, out / "expected" / f"{digest}.safetensors")
        cases.append({
            "file": f"{name}.pt", "expected": f"{digest}.safetensors", "names": list(tensors), "place": place,
            "others": list(others),
        })

    formats = {"zip": {}, "legacy": {"_use_new_zipfile_serialization": False}}
    mlp = ClipCap(Mlp())
    case("mlp", mlp.state_dict())
    for name, how in formats.items():
        for dtype in ("float32", "float16", "bfloat16"):
            state = collections.OrderedDict((k, v.to(getattr(torch, dtype))) for k, v in mlp.state_dict().items())
            # .to() unties; tie again.
            state["gpt.lm_head.weight"] = state["gpt.transformer.wte.weight"]
            case(f"mlp_{dtype}_{name}", state, **how)
        transformer = ClipCap(TransformerMapper()) if name == "zip" else transformer
        case(f"transformer_{name}", transformer.state_dict(), **how)

        base = torch.arange(24, dtype=torch.float32)
        table = base.reshape(4, 6)
        views = {
            "transposed": table.t(),
            "every_second": base[1::2],
            "columns": table[:, 2:5],
            "permuted": base.reshape(2, 3, 4).permute(2, 0, 1),
            "tied": base,
            "tied_again": base,
            "last": base[23:],
            "parameter": nn.Parameter(table[1:3].t()),
            "scalar": torch.tensor(7.5),
            "empty": torch.empty(0, 3),
            "ones": base[5:9].reshape(1, 4, 1),
            "f64": torch.tensor([1 / 3, -1e300], dtype=torch.float64),
            "i64": torch.tensor([-(2**63), 2**63 - 1]),
            "i32": torch.tensor([[-(2**31)], [2**31 - 1]], dtype=torch.int32),
            "i16": torch.tensor([-32768, 5], dtype=torch.int16),
            "i8": torch.tensor([-128, 127], dtype=torch.int8),
            "u8": torch.arange(256, dtype=torch.uint8)[::5],
            "bool": torch.tensor([[True, False, False], [False, True, True]]).t(),
        }
        case(f"views_{name}", views, **how)
        state = mlp.clip_project.state_dict()
        training = {"epoch": 3, "optimizer": {"state": {}, "param_groups": [{"lr": 2e-5, "betas": (0.9, 0.999)}]}}
        for wrapper in ("model", "state_dict", "model_state_dict"):
            case(
                f"nested_{wrapper}_{name}", state, {"epoch": 3, wrapper: state, "optimizer": training["optimizer"]},
                f'["{wrapper}"]', **how,
            )
        for protocol in (4, 5):
            case(f"protocol_{protocol}_{name}", state, pickle_protocol=protocol, **how)
    # As from a GPU: the place is only a text.
    name = "mlp_float32_legacy.pt"
    cpu, cuda = b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"
    data = (out / "sound" / name).read_bytes()
    assert cpu in data
    (out / "sound" / "cuda_legacy.pt").write_bytes(data.replace(cpu, cuda))
    cases.append(next(c for c in cases if c["file"] == name) | {"file": "cuda_legacy.pt"})
    wrappers_and_attributes(case, mlp.clip_project)
    write_json(out / "checkpoints.json", cases)


def wrappers_and_attributes(case, mapper):
    """Adds values that only torch.load(weights_only=True) supports, and state dicts under unusual keys."""
    state = mapper.state_dict()
    case("wrapped_net", state, {"epoch": 3, "net": state}, '["net"]')
    deeper = {"optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}, "parts": {"captioner": [state]}}
    case("wrapped_deeper", state, deeper, '["parts"]["captioner"][0]')
    parameters = dict(mapper.named_parameters())
    case("parameters", parameters)
    for parameter in parameters.values():
        # As transformers 5 marks what it has initialised.
        parameter._is_hf_initialized = True
    case("parameters_with_attributes", parameters)
    marked = {name: value.clone() for name, value in state.items()}
    for value in marked.values():
        value.origin = {"file": "a.pt", "type": torch.float16}
    case("tensors_with_attributes", marked)
    numbers = torch.arange(3)
    beside = {
        "weight": torch.ones(2, 2), "type": torch.float32, "layout": torch.strided, "complex": 1 + 2j,
        "device": torch.device("cuda", 0), "size": torch.Size([2]), "u16": numbers.to(torch.uint16),
        "f8": torch.ones(2).to(torch.float8_e4m3fn), "sparse": torch.eye(2).to_sparse(),
        "meta": torch.ones(2, device="meta"), "counts": collections.Counter("aab"), "surrogate": "\ud800",
        "ordered": collections.OrderedDict(a=1), "set": {1}, "bytes": bytearray(b"a"),
    }
    others = [["type", "str"], ["layout", "str"], ["complex", "complex number"], ["device", "str"], ["size", "tuple"],
              ["u16", "tensor of torch.uint16"], ["f8", "tensor of torch.float8_e4m3fn"], ["sparse", "sparse tensor"],
              ["meta", "tensor without values"], ["counts", "dict"], ["surrogate", "text with a lone surrogate"],
              ["ordered", "dict"], ["set", "set"], ["bytes", "bytes"]]
    case("beside", {"weight": beside["weight"]}, beside, others=others)
    torch.serialization.set_crc32_options(False)
    case("without_checksums", state)
    torch.serialization.set_crc32_options(True)


def embeddings(out):
    cases = []
    rows = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(3, 4).half()
    texts = ["A dog runs .", "Ein Hündchen 🐕", "", "A man " + "very " * 60 + "tall"]
    order = [0, 0, 2, 1]
    dicts = [{"image_id": f"{i}.jpg", "id": i, "caption": t, "clip_embedding": r}
             for i, (t, r) in enumerate(zip(texts, order))]

    def case(name, value, protocol, captions=dicts, old_numpy=False):
        data = pickle.dumps(value, protocol=protocol)
        if old_numpy:
            assert protocol < 4 and b"numpy._core" in data
            data = data.replace(b"numpy._core", b"numpy.core")
        (out / "embeddings" / f"{name}.pkl").write_bytes(data)
        cases.append({
            "file": f"{name}.pkl",
            "rows": rows.float().tolist(),
            "captions": [
                {"caption": c["caption"], "row": c["clip_embedding"],
                 "image": None if c.get("image_id") is None else str(c["image_id"])} for c in captions
            ],
        })

    for protocol in range(6):
        case(f"clipcap_{protocol}", {"clip_embedding": rows.float(), "captions": dicts}, protocol)
        array = rows.float().numpy()
        case(f"numpy_{protocol}", {"clip_embedding": array, "captions": dicts}, protocol)
        case(f"numpy_columns_{protocol}", {"clip_embedding": numpy.asfortranarray(array), "captions": dicts}, protocol)
        # Row numbers and image ids as numpy's integers, each embedding by itself.
        listed = [{"clip_embedding": array[r], "caption": t, "image_id": numpy.int64(i)}
                  for i, (t, r) in enumerate(zip(texts[1:], [0, 1, 2]))]
        case(f"numpy_list_{protocol}", listed, protocol,
             [{"caption": t, "clip_embedding": i, "image_id": i} for i, t in enumerate(texts[1:])])
    case("numpy_old_2", {"clip_embedding": rows.float().numpy(), "captions": dicts}, 2, old_numpy=True)
    case("f16", {"clip_embedding": rows, "captions": dicts}, 4)
    case("f64", {"clip_embedding": rows.double(), "captions": dicts}, 4)
    case("f16_numpy", {"clip_embedding": rows.numpy(), "captions": dicts}, 4)
    case("transposed", {"clip_embedding": rows.float().t().contiguous().t(), "captions": dicts}, 4)
    case("key_caption", {"clip_embedding": rows, "caption": dicts}, 4)
    strings = [{"caption": t, "clip_embedding": i} for i, t in enumerate(texts[1:])]
    case("strings", {"clip_embedding": rows, "captions": texts[1:]}, 4, strings)
    case("no_rows", {"captions": [{"caption": t} for t in texts[1:]], "clip_embedding": rows}, 4, strings)
    case("number_ids", {"clip_embedding": rows, "captions": [d | {"image_id": 10**12 + i} for i, d in enumerate(dicts)]},
         4, [d | {"image_id": 10**12 + i} for i, d in enumerate(dicts)])
    shared = [rows[i : i + 1].float().clone() for i in range(3)]
    case("list", [{"clip_embedding": shared[r], "caption": t} for t, r in zip(texts, [0, 0, 1, 2])], 4,
         [{"caption": t, "clip_embedding": r} for t, r in zip(texts, [0, 0, 1, 2])])
    single = [row[None].clone() for row in rows.float()]
    case("rows_list", {"clip_embedding": single, "captions": dicts}, 4)
    case("rows_3d", {"clip_embedding": torch.stack(single), "captions": tuple(dicts)}, 4)
    case("rows_numbers", {"clip_embedding": rows.float().tolist(), "captions": dicts}, 4)
    # What is beside is not read: NaN, texts that are not Unicode, arrays of texts and objects, types.
    beside = {"mean": float("nan"), "file": "\udc80.jpg", "words": numpy.array(texts), "word": numpy.str_("a"),
              "objects": numpy.array([{}, None]), "complex": 1j, "type": torch.float16,
              "args": argparse.Namespace(lr=1e-4, out=PurePosixPath("a/b")), "date": datetime.datetime(2024, 1, 2)}
    for protocol in (2, 5):
        case(f"beside_{protocol}", beside | {
            "clip_embedding": nn.Parameter(rows.float()), "captions": [c | beside for c in dicts]}, protocol)
        case(f"numpy_texts_{protocol}", {"clip_embedding": rows, "captions": [
            d | {"image_id": numpy.str_(d["image_id"]), "caption": numpy.str_(d["caption"])} for d in dicts]}, protocol)
    case("float_ids", {"clip_embedding": rows, "captions": [d | {"image_id": 7.0} for d in dicts]}, 4,
         [d | {"image_id": 7} for d in dicts])
    write_json(out / "embeddings.json", cases)


def plain(out):
    tags = [("a", "NOUN", 62991), ("be", "VERB", 13328), ("Hündchen\\\n", "NOUN", -1), ("🐕", "X", 2**40)]
    values = {
        "tags": tags,
        "encyclopedia": {"scenery": {"sky": ["air", "midair"], "": []}, "activity": {"run": ["run", "jog"] * 3}},
        "words": {"counter": collections.Counter("abca"), "default": collections.defaultdict(list, {"k": [1.5, None]}),
                  "ordered": collections.OrderedDict(b=True, a=False), "long": "x" * 300, "tuples": ((), (1,), (1, 2))},
    }
    expected = {}
    for name, value in values.items():
        for protocol in range(6):
            file = f"{name}_{protocol}.pkl"
            (out / "plain" / file).write_bytes(pickle.dumps(value, protocol=protocol))
            expected[file] = value
    write_json(out / "plain.json", expected)
    kinds = {
        "set": {1}, "frozenset": frozenset(["a"]), "bytes": b"\x00\xff", "bytearray": bytearray(b"ab"),
        "size": torch.Size([2, 3]), "device": torch.device("cuda:1"), "inf": float("inf"), "big": 2**100,
        "f32": numpy.float32(0.1), "i64": numpy.int64(-5), "bool": numpy.bool_(True), "key": {1: "one"},
        "ints": numpy.arange(3), "u64": 2**64 - 1,
    }
    for protocol in (0, 2, 4, 5):
        (out / f"values_{protocol}.pkl").write_bytes(pickle.dumps(kinds, protocol=protocol))


class Calls:
    """Object whose pickle is a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def text(value):
    value = value.encode()
    return b"X" + struct.pack("<I", len(value)) + value


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def hostile_pickles():
    """Yields name, bytes, words of the error, and whether Python would run a payload."""
    touch = f"touch {PAYLOAD}"
    write = f"open({PAYLOAD!r}, 'w').close()"
    for protocol in (0, 2, 4):
        for name, call, word in (
            ("os_system", Calls(os.system, touch), "posix.system"),
            ("eval", Calls(eval, write), "eval"),
            ("exec", Calls(exec, write), "exec"),
            ("popen", Calls(subprocess.Popen, ["touch", PAYLOAD]), ".Popen"),
            ("getattr", Calls(getattr, 1, "real"), "getattr"),
            ("import", Calls(builtins.__import__, "os"), "__import__"),
        ):
            yield f"{name}_{protocol}", pickle.dumps(call, protocol=protocol), [word, "nothing was run"], name not in (
                "getattr", "import")
    attack = pickle.dumps(Calls(os.system, touch), protocol=4)
    yield "beside_tensor", pickle.dumps(
        {"clip_embedding": torch.ones(1, 2), "captions": [Calls(os.system, touch)]}, protocol=4), ["posix.system"], True
    # torch.storage._load_from_bytes is allowed; what is in its bytes is not.
    nested = pickle.dumps(Calls(torch.storage._load_from_bytes, attack), protocol=4)
    yield "nested", nested, ["in a tensor's own bytes", "posix.system"], False
    stream = io.BytesIO()
    torch.save(Calls(os.system, touch), stream, _use_new_zipfile_serialization=False)
    inner = pickle.dumps(Calls(torch.storage._load_from_bytes, stream.getvalue()), protocol=4)
    yield "nested_legacy", inner, ["in a tensor's own bytes", "posix.system"], True
    yield "inst", f"(S'{touch}'\nios\nsystem\n.".encode(), ["STRING"], True
    yield "inst_alone", b"(" + text(touch) + b"ios\nsystem\n.", ["INST"], True
    yield "obj", b"(" + named("os", "system") + text(touch) + b"o.", ["os.system"], True
    yield "obj_allowed", b"(" + named("collections", "OrderedDict") + b"o.", ["OBJ"], False
    yield "newobj", b"\x80\x02" + named("torch", "Size") + b")\x81.", ["NEWOBJ", "Size"], False
    yield "newobj_ex", b"\x80\x04" + named("torch", "Size") + b")}\x92.", ["NEWOBJ_EX"], False
    yield "ext1", b"\x80\x02\x82\x01.", ["EXT1"], False
    yield "ext2", b"\x80\x02\x83\x01\x00.", ["EXT2"], False
    yield "ext4", b"\x80\x02\x84\x01\x00\x00\x00.", ["EXT4"], False
    yield "copyreg", named("copyreg", "add_extension") + b"(X\x01\x00\x00\x00aX\x01\x00\x00\x00bK\x01tR.", ["copyreg"], False
    yield "reconstructor", named("copy_reg", "_reconstructor") + b".", ["copy_reg._reconstructor"], False
    yield "dotted_name", b"\x80\x04" + b"\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93.", ["fromkeys"], False
    yield "persid", b"Pmodule\n.", ["is neither"], False
    yield "persid_later", b"NPmodule\n.", ["PERSID"], False
    yield "persistent_in_plain", b"\x80\x02)Q.", ["persistent id"], False
    yield "next_buffer", b"\x80\x05\x97.", ["NEXT_BUFFER"], False
    yield "unknown_opcode", b"\x80\x04\xff.", ["0xff", "byte 2"], False
    yield "protocol_6", b"\x80\x06N.", ["protocol 6"], False
    yield "call_int", b"\x80\x02K\x01)R.", ["call a int"], False
    yield "name_of_line_breaks", named("os\x1b[2J", "x" * 500) + b".", ["\\u{1b}", "…"], False

    yield "memo_place", b"\x80\x02Nr\xff\xff\xff\xff.", None, False
    yield "memo_missing", b"\x80\x02j\xff\xff\xff\xff.", ["memo 4294967295"], False
    yield "memo_bomb", b"\x80\x04]" + b"2\x86" * 90 + b".", None, False
    counted = {
        "BINUNICODE": b"X\xff\xff\xff\xff", "BINBYTES": b"B\xff\xff\xff\x7f", "BINUNICODE8": b"\x8d" + b"\xff" * 8,
        "BINBYTES8": b"\x8e" + b"\xff" * 7 + b"\x7f", "BYTEARRAY8": b"\x96" + b"\xff" * 6 + b"\x00\x00",
        "FRAME": b"\x95" + b"\xff" * 8, "LONG4": b"\x8b\xff\xff\xff\x7f", "BINSTRING": b"T\xff\xff\xff\x7f",
    }
    for name, head in counted.items():
        yield f"length_{name}", b"\x80\x05" + head + b"abc.", ["bytes are wanted"], False
    yield "length_negative", b"\x80\x05\x8b\xff\xff\xff\xff.", ["length of -1"], False
    yield "long_300_bytes", b"\x80\x02\x8b\x2c\x01\x00\x00" + b"\x01" * 300 + b".", ["integer of 300 bytes"], False
    yield "long_in_words", b"L" + b"9" * 5000 + b"L\n.", ["128 bits"], False
    yield "deep_lists", b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".", ["nest deeper than 100"], False
    yield "deep_tuples", b"\x80\x02)" + b"\x85" * 5000 + b".", ["nest deeper than 100"], False
    yield "contains_itself", b"\x80\x02]q\x00h\x00a.", ["contains itself"], False
    yield "list_as_key", b"\x80\x02}]Ns.", ["as a key"], False
    yield "key_twice", b"\x80\x02}(X\x01\x00\x00\x00aNX\x01\x00\x00\x00aNu.", ["key a twice"], False
    yield "class_as_value", b"\x80\x02ctorch\nFloatStorage\n.", ["where a value is expected"], False
    yield "lone_surrogate", b"\x80\x02X\x03\x00\x00\x00\xed\xa0\xff.", ["Unicode"], False
    yield "stack_empty", b"\x80\x02a.", ["none on the stack"], False
    yield "no_mark", b"\x80\x02t.", ["mark"], False
    yield "pop_beyond_mark", b"\x80\x02N(a.", ["none on the stack"], False
    yield "left_over", b"\x80\x02NN.", ["left over"], False
    yield "trailing", b"\x80\x02N.N.", ["2 bytes follow"], False
    yield "never_stops", b"\x80\x02N", ["ends at byte 3"], False
    yield "odd_dict", b"\x80\x02(Nd.", ["without a value"], False
    yield "append_to_dict", b"\x80\x02}Na.", ["add items to a dict"], False
    yield "build_list", b"\x80\x02]}b.", ["BUILD"], False
    # One long list or text, built from again and again.
    letters = b"\x80\x02" + text("x" * 2000) + b"q\x00" + text("latin1") + b"q\x01"
    encode = named("_codecs", "encode") + b"q\x02" + b"h\x00h\x01\x86q\x03R"
    yield "encode_again", letters + b"00" + encode + b"h\x02h\x03R0" * 3000 + b".", ["far more than"], False
    items = b"\x80\x02]q\x00(" + b"N" * 2000 + b"e\x85q\x01" + named("builtins", "set") + b"q\x02"
    yield "set_again", items + b"h\x02h\x01R0" * 3000 + b"h\x00.", ["far more than"], False
    stream = io.BytesIO()
    torch.save(torch.zeros(500).untyped_storage(), stream, _use_new_zipfile_serialization=False)
    stored = b"\x80\x03B" + struct.pack("<I", len(stream.getvalue())) + stream.getvalue() + b"\x85q\x00"
    load = named("torch.storage", "_load_from_bytes") + b"q\x01"
    yield "load_again", stored + load + b"h\x01h\x00R0" * 3000 + b"h\x01.", ["far more than"], False
    flags = pickle.dumps(numpy.zeros(2000, dtype=bool), protocol=5)
    # Memo 2 is the function that makes the array, 14 its arguments.
    yield "array_again", flags[:-1] + b"0h\x02h\x0eR" * 3000 + b".", ["far more than"], False

    array = pickle.dumps(numpy.arange(6, dtype=">f4"), protocol=4)
    yield "array_big_endian", array, ["big-endian"], False
    yield "array_objects", pickle.dumps(numpy.array([{}], dtype=object), protocol=4), None, False
    yield "array_complex", pickle.dumps(numpy.ones(2, dtype=complex), protocol=4), None, False
    sound = pickle.dumps(numpy.arange(6, dtype="<f4").reshape(2, 3), protocol=2)
    shape = b"K\x02K\x03\x86"
    assert sound.count(shape) == 1
    for name, other, word in (
        ("small", b"K\x02K\x02\x86", "in 24 bytes"), ("large", b"K\x02K\x04\x86", "outside its storage"),
        ("negative", b"J\xfe\xff\xff\xffJ\xfd\xff\xff\xff\x86", "negative"),
        ("overflow", b"\x8a\x08" + b"\xff" * 7 + b"\x7f" + b"\x8a\x08" + b"\xff" * 7 + b"\x7f\x86", "more elements"),
    ):
        yield f"array_{name}", sound.replace(shape, other), [word], False


def legacy(data_pickle, storages, keys=None, little=True, magic=None, version=1001):
    """Returns a legacy file around a hand-made pickle; storages are (key, elements, bytes)."""
    keys = [key for key, _, _ in storages] if keys is None else keys
    head = [0x1950A86A20F9469CFC6C if magic is None else magic, version, {"little_endian": little}]
    out = b"".join(pickle.dumps(part, protocol=2) for part in head) + data_pickle + pickle.dumps(keys, protocol=2)
    return out + b"".join(struct.pack("<q", elements) + data for _, elements, data in storages)


def zipped(entries, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", compression) as archive:
        warnings.simplefilter("ignore")
        for name, data in entries:
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=compression)
    return stream.getvalue()


def tensor_pickle(key="0", offset=b"K\x00", size=b"K\x04\x85", stride=b"K\x01\x85", elements=b"K\x04", tail=b"",
                  kind="storage", parts=b"", reference=None):
    """Returns {"w": tensor} pickled by hand with a fault; `tail` is the addition of the legacy format."""
    reference = b"(" + text(kind) + named("torch", "FloatStorage") + text(key) + text("cpu") + elements + tail + b"t" \
        if reference is None else reference
    return (b"\x80\x02}" + text("w") + named("torch._utils", "_rebuild_tensor_v2") + b"(" + reference + b"Q" + offset
            + size + stride + b"\x89" + named("collections", "OrderedDict") + b")R" + parts + b"tRs.")


def hostile_checkpoints():
    four = struct.pack("<4f", 1, 2, 3, 4)
    huge = b"\x8a\x08" + b"\xff" * 7 + b"\x7f"
    views = {
        "view_outside": ({"size": b"K\x05\x85"}, "outside its storage"),
        "view_offset": ({"offset": b"K\x01"}, "outside its storage"),
        "view_stride": ({"stride": b"K\x02\x85"}, "outside its storage"),
        "view_negative_stride": ({"stride": b"J\xff\xff\xff\xff\x85"}, "negative"),
        "view_negative_size": ({"size": b"J\xff\xff\xff\xff\x85"}, "negative"),
        "view_negative_offset": ({"offset": b"J\xff\xff\xff\xff"}, "negative"),
        "view_overflow": ({"size": huge + huge + b"\x86", "stride": b"K\x00K\x00\x86"}, "more elements"),
        "view_overflow_stride": ({"size": b"K\x02\x85", "stride": huge + b"\x85"}, "outside"),
        "view_zero_size_overflow": ({"size": b"K\x00" + huge + huge + b"\x87", "stride": b"K\x00K\x00K\x00\x87"}, "elements"),
        "view_expanded": ({"size": b"J\x00\x00\x00\x10K\x04\x86", "stride": b"K\x00K\x01\x86"}, "expand()"),
        "view_ranks": ({"size": b"K\x04\x85", "stride": b")"}, "one stride"),
        "view_float_size": ({"size": b"G@\x10\x00\x00\x00\x00\x00\x00\x85"}, "wants an int"),
        "negated": ({"parts": b"}" + text("neg") + b"\x88s"}, "metadata"),
        "elements_negative": ({"elements": b"J\xff\xff\xff\xff"}, "-1 elements"),
        "elements_overflow": ({"elements": huge}, "elements"),
        "key_up": ({"key": "../0"}, "../0"),
        "key_root": ({"key": "/etc/passwd"}, "/etc/passwd"),
        "key_empty": ({"key": ""}, "storage key"),
        "persistent_kind": ({"kind": "module"}, "unknown shape"),
        "persistent_int": ({"reference": b"K\x07"}, "persistent id that is a int"),
        "persistent_empty": ({"reference": b")"}, "unknown shape"),
        "persistent_short": ({"reference": b"(" + text("storage") + b"t"}, "unknown shape"),
    }
    good = [("x/byteorder", b"little"), ("x/data/0", four)]
    for name, (wrong, word) in views.items():
        yield f"{name}_zip.pt", zipped([("x/data.pkl", tensor_pickle(**wrong))] + good), [word]
        yield f"{name}_legacy.pt", legacy(tensor_pickle(tail=b"N", **wrong), [("0", 4, four)]), [word]
    sound = tensor_pickle()
    attack = pickle.dumps({"w": Calls(os.system, f"touch {PAYLOAD}")}, protocol=2)
    yield "os_system_zip.pt", zipped([("x/data.pkl", attack)] + good), ["posix.system"]
    yield "os_system_legacy.pt", legacy(attack, []), ["posix.system"]
    yield "load_from_bytes_zip.pt", zipped(
        [("x/data.pkl", b"\x80\x03" + named("torch.storage", "_load_from_bytes") + b"C\x00\x85R.")] + good), ["inside a"]
    yield "no_pickle.pt", zipped(good), ["data.pkl"]
    yield "two_pickles.pt", zipped([("x/data.pkl", sound), ("y/data.pkl", sound)] + good), ["more than one"]
    yield "pickle_deeper.pt", zipped([("x/y/data.pkl", sound)] + good), ["data.pkl"]
    yield "same_name.pt", zipped([("x/data.pkl", sound)] + good + [("x/data/0", four)]), ["one name"]
    yield "storage_missing.pt", zipped([("x/data.pkl", sound), good[0]]), ["storage 0 is missing"]
    yield "storage_short.pt", zipped([("x/data.pkl", sound), ("x/data/0", four[:12])]), ["12 bytes, but should have 16"]
    yield "storage_long.pt", zipped([("x/data.pkl", sound), ("x/data/0", four * 2)]), ["32 bytes, but should have 16"]
    yield "big_endian.pt", zipped([("x/data.pkl", sound), ("x/byteorder", b"big"), good[1]]), ["little-endian"]
    yield "deflated.pt", zipped([("x/data.pkl", sound)] + good, zipfile.ZIP_DEFLATED), ["compressed"]
    bomb = tensor_pickle(size=b"J\x00\x00\x10\x00\x85", elements=b"J\x00\x00\x10\x00")
    yield "bomb.pt", zipped([("x/data.pkl", bomb), ("x/data/0", bytes(4 << 20))], zipfile.ZIP_DEFLATED), ["compressed"]
    archive = zipped([("x/data.pkl", sound)] + good)
    yield "checksum.pt", archive.replace(four, four[::-1]), ["checksum"]
    # Sixty entries that are one and the same.
    keys = [str(number) for number in range(10, 70)]
    tensors = b"".join(tensor_pickle(key=key, size=b"M\x00\x04\x85", elements=b"M\x00\x04")[3:-1].replace(
        text("w"), text(key)) for key in keys)
    one = zipped([("x/data.pkl", b"\x80\x02}" + tensors + b"."), ("x/data/10", bytes(4096))])
    first, second, end = one.index(b"PK\x01\x02"), one.rindex(b"PK\x01\x02"), one.rindex(b"PK\x05\x06")
    directory = one[first:second] + b"".join(one[second:end].replace(b"data/10", b"data/" + key.encode()) for key in keys)
    counts = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, len(keys) + 1, len(keys) + 1, len(directory), first, 0)
    yield "overlapping.pt", one[:first] + directory + counts, ["overlaps others"]
    # The size of x/data/0 in the central directory, both times, then once.
    entry = archive.rindex(b"PK\x01\x02")
    sizes = slice(entry + 20, entry + 28)
    assert struct.unpack("<2I", archive[sizes]) == (16, 16)
    for name, lie, word in (("lying_size", (1 << 30, 1 << 30), ""), ("two_sizes", (16, 1 << 30), "")):
        yield f"{name}.pt", archive[:entry + 20] + struct.pack("<2I", *lie) + archive[entry + 28:], [word]
    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), stream)
    yield "torchscript.pt", stream.getvalue(), ["TorchScript", "hint"]
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("storages"))
    yield "tar.pt", stream.getvalue()[:1024], ["tar archive"]
    yield "html.pt", b"<!DOCTYPE html><title>404</title>", ["neither", "DOCTYPE"]
    yield "empty.pt", b"", ["ends at byte 0"]

    flat = tensor_pickle(tail=b"N")
    yield "legacy_big_endian.pt", legacy(flat, [("0", 4, four)], little=False), ["big-endian"]
    yield "legacy_version.pt", legacy(flat, [("0", 4, four)], version=1002), ["version"]
    yield "legacy_short.pt", legacy(flat, [("0", 4, four[:-1])]), ["bytes are wanted"]
    yield "legacy_long.pt", legacy(flat, [("0", 4, four + b"!")]), ["1 bytes follow"]
    yield "legacy_elements.pt", legacy(flat, [("0", 3, four[:12])]), ["has 3 elements, but should have 4"]
    yield "legacy_elements_negative.pt", legacy(flat, [("0", -1, four)]), ["elements"]
    yield "legacy_no_keys.pt", legacy(flat, []), ["storage 0 is missing"]
    yield "legacy_other_key.pt", legacy(flat, [("1", 4, four)]), ["storage 1 belongs to no tensor"]
    yield "legacy_keys_int.pt", legacy(flat, [("0", 4, four)], keys=[0]), ["not a str"]
    yield "legacy_view.pt", legacy(tensor_pickle(tail=b"(tt"), [("0", 4, four)]), ["unknown shape"]
    two = flat[:-2].replace(b"\x80\x02}", b"\x80\x02}(")
    double = flat[3:-2].replace(b"FloatStorage", b"DoubleStorage").replace(text("w"), text("v"))
    yield "legacy_two_types.pt", legacy(two + double + b"u.", [("0", 4, four)]), ["two sizes or types"]
    flags = flat.replace(b"FloatStorage", b"BoolStorage")
    yield "bool_of_2.pt", legacy(flags, [("0", 4, b"\x00\x01\x02\x01")]), ["neither 0 nor 1"]


def hostile(out):
    expected = {}
    for name, data, words, runs in hostile_pickles():
        (out / "hostile" / f"{name}.pkl").write_bytes(data)
        expected[f"{name}.pkl"] = words
        if runs:
            check_payload(data)
    for name, data, words in hostile_checkpoints():
        (out / "hostile" / name).write_bytes(data)
        expected[name] = words
    write_json(out / "hostile.json", expected)


def check_payload(data):
    """Checks that the payload runs in Python; otherwise the test that it does not run would prove nothing."""
    Path(PAYLOAD).unlink(missing_ok=True)
    code = "import pickle, sys, time; pickle.loads(sys.stdin.buffer.read()); time.sleep(0.2)"
    subprocess.run([sys.executable, "-c", code], input=data, stderr=subprocess.DEVNULL)
    assert Path(PAYLOAD).exists(), pickletools.dis(data)
    Path(PAYLOAD).unlink()


def check_written(out):
    written, theirs = (pickle.loads((out / name).read_bytes()) for name in ("written.pkl", "embeddings/clipcap_4.pkl"))
    assert list(written) == ["clip_embedding", "captions"]
    tensor = written["clip_embedding"]
    assert tensor.dtype == torch.float32 and tensor.is_contiguous() and torch.equal(tensor, theirs["clip_embedding"])
    assert written["captions"] == [{k: v for k, v in c.items() if k != "id"} for c in theirs["captions"]]
    # Its own storage can be written to and grown, as any tensor's.
    assert torch.equal(torch.cat([tensor * 2, tensor]), torch.cat([tensor + tensor, tensor]))


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "../fixtures/torch_files"
    torch.manual_seed(20240605)
    for folder in ("sound", "expected", "embeddings", "plain", "hostile"):
        shutil.rmtree(out / folder, ignore_errors=True)
        (out / folder).mkdir(parents=True)
    checkpoints(out)
    embeddings(out)
    plain(out)
    hostile(out)
    check_written(out)


if __name__ == "__main__":
    main()
