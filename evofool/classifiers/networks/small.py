"""Networks for small images: LeNet, the Keras example, and three without convolutions."""

import jax
from flax import nnx
from jaxtyping import Array, Float

from evofool.classifiers.networks.layers import conv, dense, flatten, hidden_dropout
from evofool.errors import UsageError
from evofool.numerics.convolution import max_pool


class LeNet(nnx.Module):
    """Caffe's LeNet, the network that Nguyen et al. released and fooled (CVPR 2015, section 2.1).

    conv 20@5x5, max-pool 2, conv 50@5x5, max-pool 2, dense 500, ReLU, dense k. There is no activation
    between a convolution and its pooling. A pixel value 0..255 is divided by 256, as Caffe does.
    """

    def __init__(self, input_shape: tuple[int, int, int], classes: int, *, rngs: nnx.Rngs) -> None:
        height, width, channels = input_shape
        rows, columns = ((height - 4) // 2 - 4) // 2, ((width - 4) // 2 - 4) // 2
        if min(rows, columns) < 1:
            raise UsageError(f"lenet needs images of at least 16x16, not {height}x{width}")
        self.conv1 = conv(channels, 20, 5, rngs)
        self.conv2 = conv(20, 50, 5, rngs)
        self.fc1 = dense(rows * columns * 50, 500, rngs)
        self.dropout = hidden_dropout()
        self.fc2 = dense(500, classes, rngs)

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Logits of images in [0, 1]."""
        x = images * (255 / 256)
        x = max_pool(self.conv1(x))
        x = max_pool(self.conv2(x))
        x = jax.nn.relu(self.fc1(self.dropout(flatten(x))))
        return self.fc2(self.dropout(x))


class CNN(nnx.Module):
    """The convolutional network of the Keras MNIST example, the teacher of Frigeni's student.

    conv 32@3x3, ReLU, conv 64@3x3, ReLU, max-pool 2, dense 128, ReLU, dense k. Pixels are taken in [0, 1].
    """

    def __init__(self, input_shape: tuple[int, int, int], classes: int, *, rngs: nnx.Rngs) -> None:
        height, width, channels = input_shape
        rows, columns = (height - 4) // 2, (width - 4) // 2
        if min(rows, columns) < 1:
            raise UsageError(f"cnn needs images of at least 6x6, not {height}x{width}")
        self.conv1 = conv(channels, 32, 3, rngs)
        self.conv2 = conv(32, 64, 3, rngs)
        self.fc1 = dense(rows * columns * 64, 128, rngs)
        self.dropout = hidden_dropout()
        self.fc2 = dense(128, classes, rngs)

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Logits of images in [0, 1]."""
        x = jax.nn.relu(self.conv1(images))
        x = max_pool(jax.nn.relu(self.conv2(x)))
        x = jax.nn.relu(self.fc1(self.dropout(flatten(x))))
        return self.fc2(self.dropout(x))


class MLP(nnx.Module):
    """Two hidden layers of 100 ReLU units, as FC100-100-10 of Szegedy et al. (ICLR 2014, table 1)."""

    def __init__(self, input_shape: tuple[int, int, int], classes: int, *, rngs: nnx.Rngs) -> None:
        height, width, channels = input_shape
        self.fc1 = dense(height * width * channels, 100, rngs)
        self.fc2 = dense(100, 100, rngs)
        self.fc3 = dense(100, classes, rngs)
        self.dropout = hidden_dropout()

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Logits of images in [0, 1]."""
        x = jax.nn.relu(self.fc1(flatten(images)))
        x = jax.nn.relu(self.fc2(self.dropout(x)))
        return self.fc3(self.dropout(x))


class Maxout(nnx.Module):
    """Two hidden layers of 240 maxout units of 5 pieces (Goodfellow et al., ICML 2013, section 5.1).

    A unit is the largest of its linear pieces, so the network is nowhere flat. Goodfellow, Shlens & Szegedy
    (ICLR 2015, section 6) report its adversarial training; theirs had dropout too.
    """

    def __init__(self, input_shape: tuple[int, int, int], classes: int, *, rngs: nnx.Rngs) -> None:
        height, width, channels = input_shape
        self.fc1 = dense(height * width * channels, 240 * 5, rngs)
        self.fc2 = dense(240, 240 * 5, rngs)
        self.fc3 = dense(240, classes, rngs)
        self.dropout = hidden_dropout()

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Logits of images in [0, 1]."""
        x = self.fc1(flatten(images)).reshape(-1, 240, 5).max(axis=2)
        x = self.fc2(self.dropout(x)).reshape(-1, 240, 5).max(axis=2)
        return self.fc3(self.dropout(x))


class Linear(nnx.Module):
    """Softmax regression: one template per class."""

    def __init__(self, input_shape: tuple[int, int, int], classes: int, *, rngs: nnx.Rngs) -> None:
        height, width, channels = input_shape
        self.fc = dense(height * width * channels, classes, rngs)

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Logits of images in [0, 1]."""
        return self.fc(flatten(images))
