"""One command that answers on an accelerator: is evofool right there, and how fast is it?"""
