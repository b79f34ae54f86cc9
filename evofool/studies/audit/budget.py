"""Who of several parts may ask a classifier how often."""

from collections.abc import Sequence


class Budget:
    """Queries that are granted to parts, one after the other.

    Each part has a share of what is left when it is its turn, among the parts that still follow. What a part
    leaves of its share, the next have.

    Args:
        total: all queries; None if there is no limit.
        shares: of the parts, in their order; all above zero.

    Example:
        >>> budget = Budget(100, [1, 1, 2])
        >>> budget.grant(10), budget.grant(1000), budget.grant(1000)
        (10, 30, 60)
    """

    def __init__(self, total: int | None, shares: Sequence[int]) -> None:
        self.left = total
        self._shares = list(shares)

    def grant(self, wanted: int, least: int = 1) -> int:
        """How many queries the next part may make: what it wants if there is enough, 0 if less than `least`.

        Granted queries count as made. `least` may exceed the part's share as long as that many are left.
        """
        share = self._shares[0] / sum(self._shares)
        del self._shares[0]
        if self.left is None:
            return wanted
        granted = min(wanted, max(int(share * self.left), least))
        granted = granted if least <= granted <= self.left else 0
        self.left -= granted
        return granted

    def give_back(self, queries: int) -> None:
        """Return queries that were granted and not made."""
        if self.left is not None:
            self.left += queries
