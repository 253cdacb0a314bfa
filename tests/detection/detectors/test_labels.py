import torch
from vocbench.detection.detections import VOC_CLASSES, Detections
from vocbench.detection.detectors.labels import Relabelled, default_classes, known_classes, label_map, labelled_by

OWN = ("cup", "person", "tv")


class Finds:
    """A detector that finds one object of each of its three classes in every image."""

    classes = OWN

    def __call__(self, images):
        return [Detections(torch.arange(12.0).reshape(3, 4), torch.tensor([0.9, 0.8, 0.7]), torch.arange(3)) for _ in images]


def test_labels_are_mapped_by_name_and_unknown_classes_left_out():
    relabelled = Relabelled(Finds(), VOC_CLASSES)
    (found,) = relabelled([torch.zeros(3, 8, 8)])
    assert [VOC_CLASSES[label] for label in found.labels] == ["person", "tvmonitor"]
    assert found.scores.tolist() == torch.tensor([0.8, 0.7]).tolist()
    assert found.boxes[:, 0].tolist() == [4, 8]
    assert relabelled.classes == VOC_CLASSES
    assert relabelled.known == OWN  # what it can find, though its labels index other classes


def test_each_name_has_its_place():
    assert label_map(["Person", "cup", "sofa"], ("sofa", "person")).tolist() == [1, -1, 0]


def test_a_model_that_knows_one_of_vocs_classes_is_asked_for_vocs():
    assert default_classes(["cup", "couch"]) == VOC_CLASSES
    assert default_classes(["cup", "plate"]) == ("cup", "plate")


def test_a_detector_is_wrapped_only_where_its_labels_index_other_classes():
    detector = Finds()
    assert labelled_by(detector, OWN) is detector
    assert isinstance(labelled_by(detector, VOC_CLASSES), Relabelled)
    assert known_classes(detector) == OWN


def test_a_detector_that_maps_its_own_labels_is_asked_to():
    class Maps(Finds):
        def label_by(self, classes):
            return "mapped", classes

    assert labelled_by(Maps(), ("a",)) == ("mapped", ("a",))
