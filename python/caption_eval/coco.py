"""A reader of COCO's caption annotations and results, in place of pycocotools' for captions."""

import copy
import json
from collections import defaultdict
from typing import Any, DefaultDict, Dict, Hashable, List, Union


class COCO:
    """Caption annotations with pycocotools' attributes.

    `dataset` is the file, `anns` has annotations by identifier, `imgToAnns` lists of them by image,
    `imgs` the images by identifier.

    :param annotation_file: JSON file with `images` and `annotations`
    """

    def __init__(self, annotation_file: Union[str, None] = None) -> None:
        self.dataset: Dict[str, Any] = {}
        self.anns: Dict[Hashable, Any] = {}
        self.imgs: Dict[Hashable, Any] = {}
        self.imgToAnns: DefaultDict[Hashable, List[Any]] = defaultdict(list)
        if annotation_file is not None:
            with open(annotation_file, encoding="utf-8") as file:
                self.dataset = json.load(file)
            if not isinstance(self.dataset, dict):
                raise ValueError(f"{annotation_file}: expected an object with images and annotations")
            self.createIndex()

    def createIndex(self) -> None:
        """Indexes the annotations and images of `dataset`."""
        self.anns, self.imgToAnns = {}, defaultdict(list)
        for annotation in self.dataset.get("annotations", []):
            self.imgToAnns[annotation["image_id"]].append(annotation)
            self.anns[annotation["id"]] = annotation
        self.imgs = {image["id"]: image for image in self.dataset.get("images", [])}

    def getImgIds(self) -> List[Any]:
        """Returns the identifiers of all images."""
        return list(self.imgs)

    def getAnnIds(self, imgIds: Any = ()) -> List[Any]:
        """Returns the identifiers of annotations, of all or of some images."""
        if not hasattr(imgIds, "__iter__"):
            imgIds = [imgIds]
        images = list(imgIds)
        lists = [self.imgToAnns.get(i, []) for i in images] if images else [self.anns.values()]
        return [annotation["id"] for annotations in lists for annotation in annotations]

    def loadAnns(self, ids: Any = ()) -> List[Any]:
        """Returns annotations by their identifiers."""
        return [self.anns[id] for id in (ids if hasattr(ids, "__iter__") else [ids])]

    def loadImgs(self, ids: Any = ()) -> List[Any]:
        """Returns images by their identifiers."""
        return [self.imgs[id] for id in (ids if hasattr(ids, "__iter__") else [ids])]

    def loadRes(self, resFile: Union[str, List[Dict[str, Any]]]) -> "COCO":
        """Returns results, `[{"image_id": 1, "caption": "a dog"}, ...]`, from a file or list."""
        results = resFile
        if isinstance(resFile, str):
            with open(resFile, encoding="utf-8") as file:
                results = json.load(file)
        if not isinstance(results, list) or not all("caption" in result for result in results):
            raise ValueError('expected a list of {"image_id": ..., "caption": ...}')
        images = {result["image_id"] for result in results}
        unknown = [image for image in images if image not in self.imgs]
        if unknown:
            raise ValueError(
                f"{len(unknown)} images of the results are not annotated, among them {unknown[:3]}"
            )
        loaded = COCO()
        loaded.dataset = {
            "info": copy.deepcopy(self.dataset.get("info", {})),
            "images": [image for image in self.dataset["images"] if image["id"] in images],
            "annotations": [{**result, "id": k} for k, result in enumerate(results, start=1)],
        }
        loaded.createIndex()
        return loaded
