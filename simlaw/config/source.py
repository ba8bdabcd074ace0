"""What every declared corpus has."""

from typing import TYPE_CHECKING, Annotated

from simlaw.declared import Between, Declared

#: A seed of a source, which is multiplied by how many streams it has: they are numbered by 64 bits.
Seed = Annotated[int, Between(0, 2**31 - 1)]


class AbstractSource(Declared):
    """What every declared corpus has besides its fields."""

    if TYPE_CHECKING:  # a dataclass would take it for the default of a field of that name

        @property
        def vocab(self) -> int:
            """How many tokens there are: every token is below it."""

    @property
    def left_out(self) -> tuple[int, ...]:
        """Tokens whose predictions no loss counts: markers at known places, which tell nothing."""
        return ()

    @property
    def names(self) -> tuple[str, ...] | None:
        """What people call each token, without spaces; None where tokens are bytes, or numbers as they are."""
        return None
