"""Tests of the package, with Python's unittest alone.

The variable CAPTION_EVAL_GROUND_TRUTH names `evaluator/visible` of the reference data, whose
numbers are pycocoevalcap's; without it those tests are skipped.
"""

import contextlib
import io
import json
import math
import os
import tempfile
import threading
import unittest
from pathlib import Path

import caption_eval
from caption_eval import _native
from caption_eval.bleu.bleu import Bleu
from caption_eval.cider.cider import Cider
from caption_eval.coco import COCO
from caption_eval.eval import COCOEvalCap
from caption_eval.meteor.meteor import Meteor
from caption_eval.rouge.rouge import Rouge
from caption_eval.tokenizer.ptbtokenizer import PTBTokenizer

GROUND_TRUTH = os.environ.get("CAPTION_EVAL_GROUND_TRUTH")
WITHOUT_METEOR = ["bleu", "rouge", "cider"]
GTS = {7: ["a dog runs", "the dog is running"], "b": ["two cats sit"], (1, 2): ["a red car"]}
RES = {7: ["a dog runs"], "b": ["two cats"], (1, 2): ["a car"]}


def has_meteor():
    try:
        _native.check_resources()
    except FileNotFoundError:
        return False
    return True


class Scorers(unittest.TestCase):
    def test_shapes_are_those_of_pycocoevalcap(self):
        corpus, images = Bleu(4).compute_score(GTS, RES)
        self.assertEqual([len(corpus), len(images)], [4, 4])
        self.assertTrue(isinstance(corpus, list) and isinstance(images[0], list))
        self.assertAlmostEqual(images[0][0], 1.0, places=8)
        self.assertEqual(Bleu(2).compute_score(GTS, RES), (corpus[:2], images[:2]))
        for scorer in [Rouge(), Cider()]:
            mean, scores = scorer.compute_score(GTS, RES)
            self.assertEqual(scores.shape, (3,))
            self.assertAlmostEqual(mean, scores.mean(), places=12)
        self.assertEqual(Rouge().calc_score(["a b"], ["a b", "c"]), 1.0)
        methods = [Bleu().method(), Rouge().method(), Cider().method()]
        self.assertEqual(methods, ["Bleu", "Rouge", "CIDEr"])

    def test_wrong_arguments_are_refused(self):
        with self.assertRaisesRegex(ValueError, "same images"):
            Bleu().compute_score(GTS, {7: ["a"]})
        with self.assertRaisesRegex(ValueError, "exactly one"):
            Bleu().compute_score({1: ["a"]}, {1: ["a", "b"]})
        with self.assertRaisesRegex(ValueError, "list of strings"):
            Bleu().compute_score({1: [{"caption": "a"}]}, {1: ["a"]})
        with self.assertRaisesRegex(ValueError, "n must be"):
            Bleu(5)
        with self.assertRaisesRegex(ValueError, "only n=4"):
            Cider(sigma=1.0)

    def test_tokens_keep_images_and_order(self):
        captions = {"x": [{"caption": "A dog's ball."}, {"caption": ""}], 3: [{"caption": "Two!"}]}
        expected = {"x": ["a dog 's ball", ""], 3: ["two"]}
        self.assertEqual(list(PTBTokenizer().tokenize(captions).items()), list(expected.items()))

    def test_other_threads_run_meanwhile(self):
        many = {i: [f"a dog number {i} runs on the beach near {i % 7} men"] * 5 for i in range(20000)}
        few = {i: captions[:1] for i, captions in many.items()}
        done = threading.Event()
        ticks = 0

        def score():
            Cider().compute_score(many, few)
            done.set()

        thread = threading.Thread(target=score)
        thread.start()
        while not done.wait(0.001):
            ticks += 1
        thread.join()
        self.assertGreater(ticks, 5)


class Plain(unittest.TestCase):
    def test_files_and_dictionaries_give_the_same(self):
        references = {1: ["A dog runs.", "the dog"], 2: ["two cats"], 3: ["a car"]}
        predictions = [{"image_id": 1, "caption": "a dog"}, {"image_id": 2, "caption": "cats"}]
        with self.assertRaisesRegex(ValueError, "1 images with references have no prediction"):
            caption_eval.evaluate(references, predictions, WITHOUT_METEOR)
        found = caption_eval.evaluate(
            references, predictions, WITHOUT_METEOR, subset="predictions", bootstrap=20
        )
        self.assertEqual((found.left_out, found.tokenizer, list(found.per_image)), (1, "ptb", [1, 2]))
        low, high = found.confidence["ROUGE_L"]
        self.assertTrue(low <= found.corpus["ROUGE_L"] <= high)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "r.json"
            path.write_text(json.dumps(references))
            other = caption_eval.evaluate(
                path, {1: "a dog", 2: [{"caption": "cats"}]}, WITHOUT_METEOR, subset="predictions"
            )
        self.assertEqual(other.corpus, found.corpus)
        self.assertEqual(list(other.per_image), ["1", "2"])

    def test_errors_say_what_is_wrong(self):
        for arguments, expected in [
            (({1: ["a"]}, {2: "a"}), "no references, among them .2."),
            (({1: ["a"]}, {1: ["a", "b"]}), "exactly one prediction"),
            (({1: []}, {1: "a"}), "no reference captions"),
            (({1: ["a"]}, {1: "a"}, ["spice"]), "unknown metric"),
            (({1: ["a"]}, {1: "a"}, ["bleu"], "spacy"), "unknown tokenizer"),
            (({1: ["a"]}, {1: "a"}, ["clipscore"]), "capsmith evaluate"),
        ]:
            with self.assertRaisesRegex(ValueError, expected):
                caption_eval.evaluate(*arguments)
        with self.assertRaises(OSError):
            caption_eval.evaluate("/nowhere/r.json", {1: "a"}, ["bleu"])

    def test_diversity_is_counted_over_all_predictions(self):
        references, predictions = {1: ["x"], 2: ["y"]}, {1: "A dog.", 2: "a dog runs"}
        found = caption_eval.evaluate(
            references, predictions, ["rouge", "diversity"], training_captions=["a dog"]
        )
        expected = {"vocabulary": 3, "distinct_1": 0.6, "distinct_2": 0.4, "mean_length": 2.5}
        self.assertEqual(found.diversity, {**expected, "novel": 0.5})
        self.assertEqual(list(found.corpus), ["ROUGE_L"])
        found = caption_eval.evaluate(references, predictions, ["rouge"])
        self.assertIsNone(found.diversity)

    def test_a_system_does_not_differ_from_itself(self):
        references, a = {1: ["a dog"], 2: ["two cats"]}, {1: "a dog", 2: "cats"}
        rows = caption_eval.compare(references, a, a, ["rouge"], resamples=50)
        self.assertEqual([(r.metric, r.difference, r.p) for r in rows], [("ROUGE_L", 0.0, 1.0)])
        rows = caption_eval.compare(references, a, {1: "x", 2: "y"}, ["rouge"], resamples=50)
        self.assertLess(rows[0].difference, 0)

    def test_meteor_without_resources_says_what_to_run(self):
        before = os.environ.get("CAPSMITH_DATA")
        with tempfile.TemporaryDirectory() as folder:
            os.environ["CAPSMITH_DATA"] = folder
            try:
                with self.assertRaisesRegex(FileNotFoundError, r"caption_eval\.fetch\(\)"):
                    Meteor()
                with self.assertWarnsRegex(UserWarning, "METEOR is left out"):
                    found = caption_eval.evaluate({1: ["a"], 2: ["b"]}, {1: "a", 2: "b"})
                self.assertNotIn("METEOR", found.corpus)
            finally:
                del os.environ["CAPSMITH_DATA"]
                if before is not None:
                    os.environ["CAPSMITH_DATA"] = before


@unittest.skipUnless(has_meteor(), "METEOR's resources have not been fetched")
class Coco(unittest.TestCase):
    def test_the_example_of_pycocoevalcap_runs(self):
        big = 10**20 + 1
        images = [{"id": 1}, {"id": big}, {"id": 3}]
        captions = [(1, "A dog runs."), (1, "the dog"), (big, "Two cats"), (3, "a car")]
        annotations = [
            {"image_id": image, "id": k, "caption": text} for k, (image, text) in enumerate(captions)
        ]
        results = [{"image_id": big, "caption": "two cats"}, {"image_id": 1, "caption": "a dog"}]
        with tempfile.TemporaryDirectory() as folder:
            files = Path(folder)
            (files / "a.json").write_text(
                json.dumps({"images": images, "annotations": annotations, "x": math.nan})
            )
            (files / "r.json").write_text(json.dumps(results))
            coco = COCO(str(files / "a.json"))
            coco_result = coco.loadRes(str(files / "r.json"))
        coco_eval = COCOEvalCap(coco, coco_result)
        with self.assertRaisesRegex(ValueError, "no result"):
            coco_eval.evaluate()
        coco_eval.params["image_id"] = coco_result.getImgIds()
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            coco_eval.evaluate()
        self.assertIn("computing Rouge score...\nROUGE_L: ", printed.getvalue())
        keys = ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr"]
        self.assertEqual(list(coco_eval.eval), keys)
        self.assertEqual([image["image_id"] for image in coco_eval.evalImgs], [1, big])
        self.assertEqual(list(coco_eval.imgToEval[big]), ["image_id", *keys])
        with self.assertRaisesRegex(ValueError, "not annotated"):
            coco.loadRes([{"image_id": 9, "caption": "a"}])


@unittest.skipUnless(GROUND_TRUTH, "CAPTION_EVAL_GROUND_TRUTH is not set")
class GroundTruth(unittest.TestCase):
    def test_scores_are_those_of_pycocoevalcap(self):
        folder = Path(GROUND_TRUTH)
        metrics = WITHOUT_METEOR + (["meteor"] if has_meteor() else [])
        runs = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        for name in ["merge_flickr8k_3_256_1", "human0_flickr8k_raw_cased"]:
            run = runs[name]
            for protocol, tokenizer in [("raw", "none"), ("ptb", "ptb")]:
                found = caption_eval.evaluate(
                    folder / run["refs"], folder / run["preds"], metrics, tokenizer
                )
                for key, score in found.corpus.items():
                    theirs = key.replace("Bleu_", "BLEU-")
                    expected = run[protocol]
                    self.assertAlmostEqual(score, expected["corpus"][theirs], delta=1e-12)
                    per_image = [scores[key] for scores in found.per_image.values()]
                    for ours, their in zip(per_image, expected["per_image"][theirs]):
                        self.assertAlmostEqual(ours, their, delta=1e-11)


if __name__ == "__main__":
    unittest.main()
