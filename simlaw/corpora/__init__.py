"""Corpora: where training batches and held-out windows come from. `open_corpus` gives the one that a spec declares."""

from simlaw.config import Corpus, Graph
from simlaw.corpora.abstract import AbstractCorpus as AbstractCorpus
from simlaw.corpora.graph import GraphCorpus as GraphCorpus
from simlaw.corpora.stream import Stream as Stream
from simlaw.corpora.text import TextCorpus as TextCorpus


def open_corpus(spec: Corpus) -> AbstractCorpus:
    """The corpus that `spec` declares; raises `SimlawError` where its files are missing or too few."""
    return GraphCorpus.build(spec) if isinstance(spec, Graph) else TextCorpus.read(spec)
