#!/usr/bin/env python3
"""Generates a client from /openapi.json of a running `capsmith serve`, and captions a picture with it.

usage: client.py ADDRESS PICTURE

Needs the packages of requirements.txt, in the environment of this Python. Hugging Face's client is tried, too.
Ends with a traceback where an answer is not what it should be.
"""

import base64
import importlib
import subprocess
import sys
import tempfile
from pathlib import Path

from huggingface_hub import InferenceClient


def generate(address, folder):
    """Generates the package `generated` in a folder, without bodies of image/*, which the generator does not know."""
    program = Path(sys.executable).with_name("openapi-python-client")
    command = [program, "generate", "--url", f"{address}/openapi.json", "--meta", "none"]
    subprocess.run([*command, "--output-path", folder / "generated"], check=True)
    sys.path.insert(0, str(folder))


def use(address, picture):
    def part(name):
        return importlib.import_module(f"generated.{name}")

    models, types = part("models"), part("types")
    client = part("client").Client(base_url=address, raise_on_unexpected_status=True)

    def ask(name, **arguments):
        return part(f"api.handlers.{name}").sync(client=client, **arguments)

    names = [run.name for run in ask("list_runs").runs]
    assert [model.id for model in ask("list_models").data] == names
    assert ask("health") == "ok\n" and "capsmith_requests" in ask("metrics_text")

    bytes_of, text = picture.read_bytes(), base64.b64encode(picture.read_bytes()).decode()
    json = ask("caption", body=models.JsonUpload(picture=text))
    assert [run.run for run in json.runs] == names and all(run.text for run in json.runs)
    one = ask("caption", body=models.JsonUpload(picture=f"data:;base64,{text}", runs=names[:1]))
    assert [run.caption for run in one.runs] == [json.runs[0].caption]

    def file():
        return types.File(payload=bytes_of, file_name="picture.jpg", mime_type="image/jpeg")

    form = ask("caption", body=models.FormUpload(image=file()), runs=names[0])
    assert form.runs[0].caption == json.runs[0].caption and form.width == json.width
    several = ask("caption", body=models.JsonUpload(pictures=[text, "no picture"]))
    captions, failed = several.pictures
    assert [run.caption for run in captions.runs] == [run.caption for run in json.runs]
    assert failed.status == 400 and "base64" in failed.error
    several = ask("caption", body=models.FormUpload(pictures=[file(), file()]))
    assert [len(outcome.runs) for outcome in several.pictures] == [len(names)] * 2
    wrong = ask("caption", body=models.JsonUpload(picture=text, runs=["nowhere"]))
    assert isinstance(wrong, models.ErrorAnswer) and names[0] in wrong.error

    inputs = models.ImageToTextUpload(inputs=text)
    assert ask("image_to_text", run=names[0], body=inputs)[0].generated_text == json.runs[0].text
    hugging_face = InferenceClient(f"{address}/v1/image-to-text/{names[0]}", token="")
    assert hugging_face.image_to_text(picture).generated_text == json.runs[0].text


def main():
    address, picture = sys.argv[1].rstrip("/"), Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        generate(address, Path(folder))
        use(address, picture)
    print("the generated client and Hugging Face's get captions")


if __name__ == "__main__":
    main()
