"""Corpora: where training batches and held-out windows come from. `open_corpus` gives the one that a spec declares."""

from simlaw.config import ZRHM, Corpus, Digits, Graph, Mix, Step, Teach, Text, Tokens, ZFact
from simlaw.corpora.abstract import AbstractCorpus as AbstractCorpus
from simlaw.corpora.abstract import Stratum as Stratum
from simlaw.corpora.digits import DigitsCorpus as DigitsCorpus
from simlaw.corpora.graph import GraphCorpus as GraphCorpus
from simlaw.corpora.items import disjoint as disjoint
from simlaw.corpora.mix import MixCorpus as MixCorpus
from simlaw.corpora.step import StepCorpus as StepCorpus
from simlaw.corpora.stream import Stream as Stream
from simlaw.corpora.teach import TeachCorpus as TeachCorpus
from simlaw.corpora.text import TextCorpus as TextCorpus
from simlaw.corpora.tokens import TokenCorpus as TokenCorpus
from simlaw.corpora.zfact import ZFactCorpus as ZFactCorpus
from simlaw.corpora.zrhm import ZRHMCorpus as ZRHMCorpus


def open_corpus(spec: Corpus) -> AbstractCorpus:
    """The corpus that `spec` declares; raises `SimlawError` where its files are missing or too few."""
    match spec:
        case Text():
            return TextCorpus.read(spec)
        case Tokens():
            return TokenCorpus.read(spec)
        case Graph():
            return GraphCorpus.build(spec)
        case ZFact():
            return ZFactCorpus.build(spec)
        case ZRHM():
            return ZRHMCorpus.build(spec)
        case Teach():
            return TeachCorpus.read(spec)
        case Step():
            return StepCorpus.build(spec)
        case Digits():
            return DigitsCorpus.build(spec)
        case Mix():
            return MixCorpus.build(spec, open_corpus)
