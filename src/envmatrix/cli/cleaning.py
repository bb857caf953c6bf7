"""x"""
def clean() -> None:
    """x"""
